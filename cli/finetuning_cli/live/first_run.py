"""`finetune first-run`: two real runs, an update, a rollback, every check, and the removal of all of it."""

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from finetuning.errors import Code, FineTuningError
from finetuning.operations.run import Run
from finetuning.runs.status import RunState, RunStatus
from finetuning.runs.timeline import steps
from finetuning_cli.errors import to_cli_error
from finetuning_cli.live.account import Checks, account_checks
from finetuning_cli.live.assumptions import Observation, observed, open_assumptions
from finetuning_cli.live.budget import Estimate, Meter
from finetuning_cli.live.checks import CHECKS, Moment
from finetuning_cli.live.evidence import Step
from finetuning_cli.live.first_runs import FirstRuns
from finetuning_cli.live.names import FIRST, SECOND
from finetuning_cli.live.removal import remove
from finetuning_cli.preflight.data import LocalData
from finetuning_cli.preflight.models import ModelFacts
from finetuning_cli.preflight.planning import Circumstances, PlannedRun, plan_run, unlimited_stage
from finetuning_cli.stage.approvals import APPROVAL_STEP, approve_run
from finetuning_cli.stage.endpoints import is_rolled_back, roll_back
from finetuning_cli.stage.runs import Connection, status_changes, wait_for_report
from finetuning_cli.stage.uploads import submit_folder

MODEL = "meta-textgeneration-llama-3-2-1b-instruct"
"""The smallest one."""
EXAMPLE = Path(__file__).with_name("ships_log.jsonl")
COMPLETE = "complete"
NOT_REACHED = Observation(None, "the first run ended before this check")
TTL_HOURS = 6
"""The sweep deletes the endpoint after it, should this command's own removal never run."""
Tell = Callable[[str], None]

PLAN = (
    "checks the account and the stage, as `finetune verify-aws`",
    "run 1: trains on 40 short chats, deploys, compares with the base model on a temporary endpoint, registers",
    "asks the endpoint, and checks what AWS shows of the run",
    "run 2: trains on the same chats as Parquet, is approved, updates the endpoint with data capture",
    "asks the endpoint during the update, and rolls it back to run 1",
    "deletes endpoints, models, registered versions, files and alarms, and looks for anything left",
)
"""What the command does, for the question before it."""


def first_request(model: str, accept_eula: bool, max_cost_usd: float | None = None) -> dict[str, Any]:
    """run.json of run 1."""
    return {
        "model": model,
        "accept_eula": accept_eula,
        "task": "chat",
        "hyperparameters": {"epoch": 1, "max_input_length": 512},
        "validation_fraction": 0.2,
        "training": {"max_cost_usd": max_cost_usd} if max_cost_usd else {},
        "endpoint": {"name": FIRST, "ttl_hours": TTL_HOURS},
        "evaluation": {"prompts": 2, "compare_with_base": True},
    }


def second_request(first: Mapping[str, Any]) -> dict[str, Any]:
    """run.json of run 2: updates the endpoint of run 1."""
    return {
        **first,
        "endpoint": {**first["endpoint"], "data_capture": True},
        "evaluation": {"prompts": 2},
        "approval": True,
    }


def plan_first_run(model: str, accept_eula: bool, region: str) -> tuple[PlannedRun, Estimate | None]:
    """The plan of run 1, and what all will cost; None if the run could not start. Starts nothing.

    Raises `FineTuningError` (PRICE_UNKNOWN).
    """
    with TemporaryDirectory() as folder:
        (Path(folder) / EXAMPLE.name).write_bytes(EXAMPLE.read_bytes())
        run_json = Path(folder) / "run.json"
        run_json.write_text(json.dumps(first_request(model, accept_eula)))
        given = Circumstances(ModelFacts.live(region), unlimited_stage(region))
        planned = plan_run(LocalData.read([Path(folder)]), given, name="chat")
    if not planned.can_start or planned.plan is None:
        return planned, None
    return planned, Estimate.of(planned.plan)


@contextmanager
def as_interrupt() -> Iterator[None]:
    """A closed terminal and `kill` raise KeyboardInterrupt once, as Ctrl-C does; a terminal may send its signal twice.

    A signal that is ignored, as by nohup, stays ignored.
    """

    def interrupt(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    names = [name for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name)]  # Windows has no SIGHUP
    before = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class FirstRun:
    """One execution of the command. `tell` gets a line about each thing that happens."""

    runs: FirstRuns
    meter: Meter
    region: str
    model: str
    accept_eula: bool
    run_budget_usd: float
    """Each training's `max_cost_usd`."""
    tell: Tell
    observations: dict[str, Observation] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    connection: Connection = field(default_factory=Connection)

    def carry_out(self) -> str:
        """Does all of it and removes it; returns `complete`, or why it ended before. Observations are kept either way.

        Raises `FineTuningError` (LEFT_BEHIND), and KeyboardInterrupt if it is interrupted a second time.
        """
        ended = COMPLETE
        try:
            self._observe_account()
            self._serve()
            self._observe(Moment.SERVED)
            self._update()
            self._observe(Moment.UPDATED)
            self._roll_back()
            self._observe(Moment.ROLLED_BACK)
        except KeyboardInterrupt:
            ended = "interrupted"
        except (FineTuningError, BotoCoreError, ClientError) as error:
            failure = to_cli_error(error)
            ended = f"{failure.code}: {failure.message} {failure.fix}"
        except Exception as error:  # noqa: BLE001  # a defect of this command must not leave an endpoint that costs money
            ended = f"{type(error).__name__}: {error}"
        self.tell("Removing everything." if ended == COMPLETE else f"Ended early ({ended}). Removing everything.")
        with suppress(Exception):  # then the cost is known less exactly; the removal must not wait for it
            self.meter.look(self.runs, datetime.now(UTC))
        remove(self.runs.deployment, self.tell)
        self._observe(Moment.REMOVED)
        return ended

    def all_observations(self) -> dict[str, Observation]:
        """Of every assumption that one of the two commands settles."""
        return {each.id: self.observations.get(each.id, NOT_REACHED) for each in open_assumptions() if each.settled_by}

    def _observe_account(self) -> None:
        for id, checks in account_checks(self.region, self.runs.deployment.stage).items():
            self._note(id, partial(_observed_all, checks))

    def _observe(self, moment: Moment) -> None:
        for id, (when, check) in CHECKS.items():
            if when is moment:
                self._note(id, partial(check, self.runs))

    def _note(self, id: str, observe: Callable[[], Observation]) -> None:
        """A check that AWS refuses to answer, or answers in another form, is no reason to end."""
        try:
            observation = observe()
        except (BotoCoreError, ClientError, FineTuningError) as error:
            observation = Observation(None, to_cli_error(error).message)
        except Exception as error:  # noqa: BLE001  # AWS's answers are what the first run is to find out
            observation = Observation(None, f"the check failed: {type(error).__name__}: {error}")
        self.observations[id] = observation
        verdict = {True: "✓", False: "✗", None: "–"}[observation.holds]
        self.tell(f"{verdict} {id}: {observation.seen}")

    def _serve(self) -> None:
        request = first_request(self.model, self.accept_eula, self.run_budget_usd)
        with TemporaryDirectory() as folder:
            data = Path(folder) / EXAMPLE.name
            data.write_bytes(EXAMPLE.read_bytes())
            self._follow(FIRST, data, request)

    def _update(self) -> None:
        request = second_request(first_request(self.model, self.accept_eula, self.run_budget_usd))
        with TemporaryDirectory() as folder:
            data = Path(folder) / "ships_log.parquet"
            pq.write_table(pa.Table.from_pylist([json.loads(line) for line in EXAMPLE.read_text().splitlines()]), data)
            self._follow(SECOND, data, request)

    def _roll_back(self) -> None:
        self.tell(f"Rolling {self.runs.endpoint} back to run 1")
        config = roll_back(self.runs.deployment, self.runs.endpoint)
        back = partial(is_rolled_back, self.runs.deployment, self.runs.endpoint, config)
        while not self.connection.try_to(back, otherwise=False):
            self._wait(self.runs.poll_seconds)

    def _follow(self, name: str, data: Path, request: Mapping[str, Any]) -> None:
        """Submits a run and waits for its end. Raises `FineTuningError` if it does not succeed."""
        body = json.dumps(request).encode()
        upload = submit_folder(self.runs.deployment, {data.name: data}, body, name, lambda _: lambda _: None)
        self.runs.uploads.append(upload)
        run = self.runs.deployment.run(self.runs.uploads[-1].run_id)
        self.tell(f"Submitted {run.run_id}")
        printed = 0
        for status in status_changes(run, self.runs.poll_seconds, self._wait):
            for event in status.events[printed:]:
                self.tell(f"  {event.time:%H:%M:%SZ} {event.step}: {event.message}")
            printed = len(status.events)
        wait_for_report(status, self.runs.poll_seconds)
        ended_at = status.updated_at
        self.steps += [
            Step(run=name, step=period.title, seconds=round(period.duration.total_seconds()))
            for period in steps(status, ended_at)
        ]
        if status.state is not RunState.SUCCEEDED:
            error = status.error or {}
            raise FineTuningError(
                str(error.get("code", Code.RUN_ABORTED)),
                f"The run {run.run_id} {status.state}: {error.get('message', 'it recorded no cause')}",
                str(error.get("fix", "")),
            )

    def _wait(self, seconds: float) -> None:
        """Between two looks: keeps to the budget, approves run 2, asks the endpoint while it is being changed."""
        self.connection.try_to(self._look, otherwise=None)
        time.sleep(seconds)

    def _look(self) -> None:
        self.meter.look(self.runs, datetime.now(UTC))
        if len(self.runs.uploads) > 1:
            self._approve(self.runs.second)
            if self.runs.probe.is_due:
                self.runs.probe.ask(self.runs.endpoint, self.runs.inputs)

    def _approve(self, run: Run) -> None:
        status: RunStatus | None = run.find_status()
        if status is None or status.state.is_final or status.step != APPROVAL_STEP:
            return
        with suppress(FineTuningError):  # the token may not be there yet, or may have been used already
            approve_run(run)


def _observed_all(checks: Checks) -> Observation:
    return observed(checks())
