"""ReframeParquet: writes Parquet files as JSON Lines. The only function with pyarrow."""

from finetuning.datasets.parquet import reframe_file
from finetuning.handlers.step import Payload, step
from finetuning.operations.dataset_files import open_data_file, reframed_key
from finetuning.operations.run import Run


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. plan.json then says what each Parquet file holds. PlanShards refuses a damaged one:
    it writes the report of the data.
    """
    plan, rows, files = run.plan, 0, []
    for number, file in enumerate(plan.data_files):
        if file.is_parquet:
            with open_data_file(plan, file) as source:
                reframed = reframe_file(source, run.files, reframed_key(number))
            rows += reframed.rows
            files.append(file.model_copy(update={"detection": reframed.detection}))
        else:
            files.append(file)
    run.save_plan(plan.model_copy(update={"data_files": files}))
    return run.record(f"{rows:,} rows of Parquet written as JSON Lines").shown
