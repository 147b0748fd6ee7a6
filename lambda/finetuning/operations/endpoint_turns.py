"""The order in which runs deploy to one endpoint, and what else a deployment waits for."""

from datetime import UTC, datetime, timedelta

from finetuning.aws.run_store import RunStore
from finetuning.aws.sagemaker import SageMaker, endpoint_busy
from finetuning.lazy_model import LazyModel
from finetuning.operations.run import Run
from finetuning.runs.layout import TURNS, RunLayout
from finetuning.runs.names import Names
from finetuning.runs.status import RunStatus
from finetuning.runs.waiting import LONGEST_ENDPOINT_WAIT_HOURS

TURN_HOURS = 24
"""After this time a turn is over in any case. It is longer than any deployment with its evaluation."""
_TIME = "%Y%m%dT%H%M%S.%f"


class _Holder(LazyModel):
    """The turn that the endpoint's deployments wait for."""

    turn: str


def run_ahead(run: Run, endpoint: str, now: datetime) -> str | None:
    """The id of the run that this one waits for, or None: it is this run's turn.

    A run keeps its turn until it ends, so that it evaluates the model that it has deployed. Otherwise runs are served
    in the order of their turns. Two that come at the same moment may each see no earlier turn than their own: one
    document, replaced under a condition, names the run that is served. A turn that is older may appear later: that of a
    run that was redriven, or was slow to write it.
    """
    folder, turn = f"{TURNS}{endpoint}/", run.status.endpoint_turn
    holder_key = f"{folder}holder.json"
    if not turn:
        turn = f"{now:{_TIME}}_{run.run_id}"
        run.record("", endpoint_turn=turn)
    turns = set(run.store.folders(folder))
    if turn not in turns:
        run.store.write(f"{folder}{turn}/turn.json", b"{}")

    def is_valid(holder: _Holder | None) -> bool:
        return holder is not None and _is_valid(run.store, holder.turn, now)

    if not is_valid(run.store.find(holder_key, _Holder)):
        for earlier in sorted(each for each in turns if each < turn):
            if _is_valid(run.store, earlier, now):
                return _run_id(earlier)

    def held_by(holder: _Holder | None) -> _Holder:
        return holder if holder and is_valid(holder) else _Holder(turn=turn)

    served = run.store.update(holder_key, _Holder, held_by).turn
    return None if served == turn else _run_id(served)


def _is_valid(store: RunStore, turn: str, now: datetime) -> bool:
    """False if the turn is too old, or its run has ended or left it."""
    began = datetime.strptime(turn.partition("_")[0], _TIME).replace(tzinfo=UTC)
    if now - began > timedelta(hours=TURN_HOURS):
        return False
    status = store.find(RunLayout(_run_id(turn)).status, RunStatus)
    return status is not None and not status.state.is_final and status.endpoint_turn == turn


def _run_id(turn: str) -> str:
    return turn.partition("_")[2]


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
