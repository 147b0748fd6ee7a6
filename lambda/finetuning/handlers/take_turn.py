"""TakeTurn: lets the run continue, or keeps it waiting while too many earlier runs are running."""

from datetime import UTC, datetime

from finetuning.aws.step_functions import executions
from finetuning.errors import Code, FineTuningError
from finetuning.handlers.step import Payload, step
from finetuning.operations.run import Run
from finetuning.runs.outcomes import Outcome
from finetuning.runs.waiting import LONGEST_WAIT_HOURS, runs_ahead, turn_pause
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, execution_arn, state_machine_arn, started_at}` → `{outcome: "go"|"waiting", wait_seconds}`.

    Raises `FineTuningError` (TURN_TIMED_OUT) if the run has waited too long.
    """
    limit = settings().max_concurrent_runs
    ahead = runs_ahead(executions(event["state_machine_arn"]).running(), event["execution_arn"])
    if ahead < limit:
        run.record("")
        return {"outcome": Outcome.GO, "wait_seconds": 0}
    elapsed = (datetime.now(UTC) - datetime.fromisoformat(event["started_at"])).total_seconds()
    if elapsed > LONGEST_WAIT_HOURS * 3600:
        raise FineTuningError(
            Code.TURN_TIMED_OUT,
            f"{ahead} runs were still ahead of this one after {LONGEST_WAIT_HOURS} hours.",
            "Try again later with `finetune submit --again RUN`, or raise max_concurrent_runs of the stage.",
        )
    waiting = f"Waiting: {ahead} {'runs are' if ahead > 1 else 'run is'} ahead of this one; {limit} can run at a time"
    status = run.record(waiting, progress=waiting)
    return {"outcome": Outcome.WAITING, "wait_seconds": turn_pause(ahead, elapsed), **status.shown}
