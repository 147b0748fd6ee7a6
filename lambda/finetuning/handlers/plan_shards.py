"""PlanShards: looks at the head of every data file, settles what they are trained for, and cuts them into shards."""

from pathlib import PurePosixPath

from finetuning.aws.clients import client
from finetuning.aws.s3_streams import s3_reader
from finetuning.datasets.dataset_report import refusal_report
from finetuning.datasets.detection import HEAD_BYTES, detect, detect_reframed
from finetuning.datasets.preparation import Preparation, SourceFile, prepare
from finetuning.datasets.resolution import resolve
from finetuning.errors import DatasetRefused
from finetuning.handlers.step import Payload, step
from finetuning.jumpstart.catalogue import support
from finetuning.operations.dataset_files import is_parquet, reframed
from finetuning.operations.run import Run
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → `{shards: [0, 1, …]}`. Raises `DatasetRefused`, with dataset.json written, where the heads show that
    nothing can be trained.
    """
    preparation = _preparation(run)
    resolution = preparation.resolution
    if resolution.refusal:
        run.store.save(run.layout.dataset_report, refusal_report(preparation))
        raise DatasetRefused(resolution.message, resolution.fix)
    run.store.save(run.layout.preparation, preparation)
    status = run.record(f"Preparing the data for {preparation.task}: {resolution.why}")
    return {"shards": [shard.number for shard in preparation.shards], **status.shown}


def _preparation(run: Run) -> Preparation:
    plan = run.plan
    files = [_source_file(run, number) for number in range(len(plan.data_files))]
    named = [(file.name, file.detection) for file in files]
    return prepare(
        files,
        resolve(named, plan.data_options, supported=support(plan.model_id).tasks),
        plan.data_options,
        family=plan.family.name,
        shard_bytes=settings().shard_bytes,
        max_input_length=_input_length(plan),
    )


def _source_file(run: Run, number: int) -> SourceFile:
    """A data file with what its head shows; a Parquet file is read from the JSON Lines it was written out to."""
    plan = run.plan
    file, s3 = plan.data_files[number], client("s3")
    name = PurePosixPath(file.key).name
    if is_parquet(file.key):
        key = reframed(number)
        size = run.files.size(key)
        with run.files.open(key) as source:
            detection = detect_reframed(source.read(HEAD_BYTES), size)
        return SourceFile(name=name, bucket=run.store.bucket, key=run.layout.root + key, size=size, detection=detection)
    with s3_reader(s3, plan.upload.bucket, file.key, version_id=file.version_id, etag=file.etag) as source:
        detection = detect(source.read(HEAD_BYTES), name, file.size)
    return SourceFile(
        name=name,
        bucket=plan.upload.bucket,
        key=file.key,
        size=file.size,
        version_id=file.version_id,
        etag=file.etag,
        detection=detection,
    )


def _input_length(plan: RunPlan) -> int | None:
    """Tokens of a row that training reads. A value of zero or less leaves it to the script: then the model's."""
    asked = plan.hyperparameters.get("max_input_length", "")
    return int(asked) if asked.isdigit() and int(asked) else support(plan.model_id).input_length
