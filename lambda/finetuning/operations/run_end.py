"""Whether a run has ended while one of its steps works: Step Functions stops the execution, not the function.

A step that creates something asks before, and again afterwards. CleanUpRun looks for what is left only after the
execution has ended, so that one of the two finds what was created in between.
"""

from finetuning.aws.step_functions import execution_status
from finetuning.errors import Code, FineTuningError
from finetuning.operations.run import Run


def has_ended(run: Run) -> bool:
    """True if the run's execution is over. A step that is called by hand has no execution."""
    arn = run.status.execution_arn
    return bool(arn) and execution_status(arn) not in ("RUNNING", None)


def require_running(run: Run) -> None:
    """Raises `FineTuningError` (RUN_ABORTED) if the run has ended."""
    if has_ended(run):
        raise ended(run)


def ended(run: Run, *done: str) -> FineTuningError:
    """The error of a step whose run has ended; `done`: what it has taken back, one line each."""
    message = " ".join([f"The run {run.run_id} ended while this step was working.", *(f"{line}." for line in done)])
    return FineTuningError(Code.RUN_ABORTED, message, "Start over with `finetune submit --again RUN`.")
