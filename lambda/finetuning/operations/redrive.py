"""A run whose execution somebody redrives: Step Functions lets an ended execution go on, under the same ARN."""

from finetuning.errors import Code, FineTuningError
from finetuning.operations.run import Run
from finetuning.runs.status import RunState

REDRIVEN = "The execution was redriven: the run continues"


def note_redrive(run: Run, execution_arn: str, redrives: int) -> None:
    """Sets the status to running at the first step after each redrive, and only there: a step of an execution that was
    ended again may begin late.

    `redrives`: how often the execution has been redriven. Raises `FineTuningError` (RUN_ABORTED) if the run belongs to
    another execution, which deploys its model again.
    """
    status = run.status
    if status.execution_arn not in ("", execution_arn):
        raise FineTuningError(
            Code.RUN_ABORTED,
            f"The model of {run.run_id} was deployed again by another execution, {status.execution_arn}. This one does "
            "not go on.",
            "Deploy the model with `finetune deploy RUN`, or start over with `finetune submit --again RUN`.",
        )
    if redrives > status.redrives:
        set_running(run, redrives)


def set_running(run: Run, redrives: int) -> None:
    run.record(REDRIVEN, state=RunState.RUNNING, error=None, redrives=redrives, endpoint_wait_began=None)
