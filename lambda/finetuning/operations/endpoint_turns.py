"""The order in which runs deploy to one endpoint, and what else a deployment waits for."""

from datetime import UTC, datetime, timedelta

from finetuning.aws.sagemaker import SageMaker, endpoint_busy
from finetuning.operations.run import Run
from finetuning.runs.layout import TURNS, RunLayout
from finetuning.runs.names import Names
from finetuning.runs.status import RunStatus
from finetuning.runs.waiting import LONGEST_ENDPOINT_WAIT_HOURS

TURN_HOURS = 24
"""After this time a turn is over in any case. It is longer than any deployment with its evaluation."""
_TIME = "%Y%m%dT%H%M%S.%f"


def run_ahead(run: Run, endpoint: str, now: datetime) -> str | None:
    """The id of a run that came to the endpoint earlier and has not ended, or None: it is this run's turn.

    A run keeps its turn until it ends, so that it evaluates the model that it has deployed.
    """
    folder, turn = f"{TURNS}{endpoint}/", run.status.endpoint_turn
    if not turn:
        turn = f"{now:{_TIME}}_{run.run_id}"
        run.record("", endpoint_turn=turn)
    if turn not in run.store.folders(folder):
        run.store.write(f"{folder}{turn}/turn.json", b"{}")
    for earlier in sorted(each for each in run.store.folders(folder) if each < turn):
        began, _, other = earlier.partition("_")
        if now - datetime.strptime(began, _TIME).replace(tzinfo=UTC) > timedelta(hours=TURN_HOURS):
            continue
        status = run.store.find(RunLayout(other).status, RunStatus)
        if status and not status.state.is_final and status.endpoint_turn == earlier:
            return other
    return None


def standing_temporaries(api: SageMaker, names: Names) -> dict[str, str]:
    """The run's temporary endpoints that still exist, with their status. Each counts against the account's quota."""
    found = {name: api.describe_endpoint(name) for name in (names.candidate, names.base)}
    return {name: endpoint["EndpointStatus"] for name, endpoint in found.items() if endpoint}


def require_patience(status: RunStatus, endpoint: str, now: datetime) -> timedelta:
    """How long the run has waited for the endpoint. Raises `FineTuningError` (ENDPOINT_BUSY) after the longest wait."""
    waited = now - (status.endpoint_wait_began or now)
    if waited > timedelta(hours=LONGEST_ENDPOINT_WAIT_HOURS):
        raise endpoint_busy(endpoint)
    return waited
