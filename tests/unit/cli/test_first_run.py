"""The pure parts of `finetune first-run`: names, evidence, README's table, estimate."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from finetuning.aws.clients import client
from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.runs.run_json import read_request
from finetuning.runs.status import Check
from finetuning_cli.live import first_run
from finetuning_cli.live.account import AccountCheck
from finetuning_cli.live.assumptions import Observation, observed, open_assumptions
from finetuning_cli.live.budget import Estimate, Meter
from finetuning_cli.live.checks import CHECKS
from finetuning_cli.live.evidence import (
    FOLDER,
    Evidence,
    Seen,
    documents,
    kept_evidence,
    verified_table,
    without_account,
)
from finetuning_cli.live.first_run import (
    MODEL,
    FirstRun,
    as_interrupt,
    first_request,
    plan_first_run,
    second_request,
)
from finetuning_cli.live.first_runs import FirstRuns
from finetuning_cli.live.names import FIRST, is_object, is_resource, is_run
from finetuning_cli.preflight.data import LocalData
from finetuning_cli.preflight.documents import FACTS
from finetuning_cli.preflight.models import ModelFacts
from finetuning_cli.preflight.planning import Circumstances, plan_run, unlimited_stage
from finetuning_cli.stage.deployment import Deployment
from tests.builders.cli import Command

ACCOUNT = "123456789012"


def any_evidence(**changes: Any) -> Evidence:
    known: dict[str, Any] = {
        "date": date(2026, 12, 1),
        "region": "us-east-1",
        "emulated": False,
        "version": "0.1.0",
        "model": MODEL,
        "instance_types": ["ml.g5.2xlarge", "ml.g6.xlarge"],
        "budget_usd": 10,
        "estimate_usd": 3.5,
        "spent_usd": 2.5,
        "ended": "complete",
        "steps": [],
        "assumptions": [Seen(id="answer", result="holds", seen="112 characters in 644 ms")],
        "left": [],
    }
    return Evidence(**(known | changes))


def test_every_assumption_is_settled_by_a_check_or_says_when_it_shows() -> None:
    ids = [each.id for each in open_assumptions()]
    assert len(ids) == len(set(ids))
    assert [each.id for each in open_assumptions() if bool(each.settled_by) == bool(each.seen_when)] == []
    assert {each.settled_by for each in open_assumptions()} == {"verify-aws", "first-run", ""}
    assert {each.id for each in open_assumptions() if each.settled_by == "first-run"} == CHECKS.keys()


@pytest.mark.parametrize(
    "name", ["first-run-check", "first-run-check-0a1b2c3d", "first-run-check-update-0a1b2c3d-base"]
)
def test_what_the_runs_create_is_recognised(name: str) -> None:
    assert is_resource(f"finetune-dev-{name}", "finetune-dev")


@pytest.mark.parametrize(
    "name", ["first-run-checks", "first-run-check-list-0a1b2c3d", "first-run-check-0a1b2c3d-live", "x-first-run-check"]
)
def test_what_another_run_created_is_never_deleted(name: str) -> None:
    assert not is_resource(f"finetune-dev-{name}", "finetune-dev")
    assert not is_resource(name, "finetune-dev")
    assert not is_run(name)
    assert not is_object(f"runs/{name}/run.json")


def test_objects_are_those_of_their_uploads_and_of_their_runs() -> None:
    assert is_object(f"runs/{FIRST}/run.json")
    assert is_object(f"runs/{FIRST}-update-0a1b2c3d/training/job/output/model/model.safetensors")
    assert not is_object(f"inbox/{FIRST}.jsonl")
    assert not is_object(f"archive/runs/{FIRST}/run.json")


def test_evidence_names_no_account(tmp_path: Path) -> None:
    seen = Observation(False, f"denied on arn:aws:iam::{ACCOUNT}:role/finetune-dev-X in {ACCOUNT}")
    evidence = any_evidence(
        assumptions=[Seen.of("permissions", seen)], ended=f"ACCESS_DENIED: arn:aws:kms:us-east-1:{ACCOUNT}:key/a"
    )
    text = evidence.write(tmp_path).read_text()
    assert ACCOUNT not in text
    assert "arn:" not in text
    assert json.loads(text)["assumptions"][0]["seen"] == "denied on role/finetune-dev-X in <account>"
    assert without_account("a key 0a1b2c3d-0000-1111-2222-123456789abc") == "a key 0a1b2c3d-0000-1111-2222-123456789abc"


def test_evidence_of_a_rehearsal_proves_nothing(tmp_path: Path) -> None:
    any_evidence(emulated=True).write(tmp_path)
    assert kept_evidence(tmp_path) == []
    any_evidence().write(tmp_path)
    assert [each.region for each in kept_evidence(tmp_path)] == ["us-east-1"]


def test_the_table_names_what_holds_and_what_does_not() -> None:
    refuted = Seen(id="streamed-answer", result="does not hold", seen="1 piece")
    unseen = Seen(id="answer-ends", result="could not be seen", seen="")
    first = any_evidence()
    later = any_evidence(date=date(2026, 12, 8), region="eu-central-1", assumptions=[refuted, unseen])
    (row,) = [line for line in verified_table([first, later]).splitlines() if line.startswith("| endpoint")]
    assert "1 hold ([2026-12-01 in us-east-1](docs/live/2026-12-01-us-east-1.json))" in row
    assert "**streamed-answer does not hold** ([2026-12-08](docs/live/2026-12-08-eu-central-1.json))" in row
    assert "answer-ends" not in row


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_generated_tables_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == documents()[path], "Run `make verified`."


def test_no_evidence_of_a_rehearsal_is_kept() -> None:
    found = [Evidence.model_validate_json(path.read_bytes()) for path in FOLDER.glob("*.json")]
    assert [each.file_name for each in found if each.emulated] == []


def test_checks_become_one_observation() -> None:
    good, bad, unclear = (Check(check="x", ok=ok, message=f"{ok}") for ok in (True, False, None))
    assert observed([good, good]) == Observation(True, "2 checks passed")
    assert observed([good, bad, unclear]) == Observation(False, "x: False; x: None")
    assert observed([good, unclear]) == Observation(None, "x: None")
    assert observed([]).holds is None
    assert AccountCheck(assumption="prices", **good.model_dump()).ok is True


def test_both_requests_are_valid_and_share_an_endpoint() -> None:
    first = first_request(MODEL, accept_eula=True, max_cost_usd=3.0)
    second = second_request(first)
    for request in (first, second):
        assert read_request(json.dumps(request).encode())[1] == []
    assert first["endpoint"]["name"] == second["endpoint"]["name"] == FIRST
    assert first["evaluation"]["compare_with_base"]
    assert second["approval"]
    assert second["endpoint"]["data_capture"]


def test_the_estimate_counts_both_trainings_and_the_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelFacts, "live", lambda region: ModelFacts.kept(FACTS))
    planned, estimate = plan_first_run(MODEL, True, "us-east-1")
    assert planned.plan is not None
    assert estimate is not None
    assert estimate.training_usd == 2 * (planned.plan.training.estimate.usd or 0)
    assert estimate.endpoint_usd == estimate.endpoint_hours * (planned.plan.endpoint.usd_per_hour or 0)
    assert estimate.endpoint_hours > 2
    assert estimate.usd < 10  # the default budget


def test_a_refused_plan_has_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelFacts, "live", lambda region: ModelFacts.kept(FACTS))
    planned, estimate = plan_first_run(MODEL, False, "us-east-1")
    assert estimate is None
    assert "EULA_NOT_ACCEPTED" in [finding.code for finding in planned.checklist.findings]


def test_a_plan_without_a_price_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.run.json").write_text(json.dumps(first_request(MODEL, True)))
    given = Circumstances(ModelFacts.kept(FACTS), unlimited_stage("us-east-1"))
    data = LocalData.read_upload(tmp_path / "my.run.json")
    planned = plan_run(data, given, name="first", needs_data=False).plan
    assert planned is not None
    endpoint = planned.endpoint.model_copy(update={"usd_per_hour": None})
    with pytest.raises(FineTuningError) as refused:
        Estimate.of(planned.model_copy(update={"endpoint": endpoint}))
    assert refused.value.code == Code.PRICE_UNKNOWN


NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def runs_with_endpoint(created_at: datetime, status: str = "InService") -> FirstRuns:
    """What the meter sees before any run has a status."""
    endpoint = {"EndpointName": "finetune-dev-check", "EndpointStatus": status, "CreationTime": created_at}
    control = SimpleNamespace(endpoints=lambda _: [endpoint])
    return cast(FirstRuns, SimpleNamespace(control=control, endpoint="finetune-dev-check", uploads=[]))


def test_an_endpoint_costs_from_its_creation_to_the_last_look() -> None:
    meter = Meter(limit_usd=10, endpoint_usd_per_hour=2)
    runs = runs_with_endpoint(created_at=NOW)
    for hours in (0, 1, 3):
        meter.look(runs, NOW + timedelta(hours=hours))
    assert meter.usd == 3 * 2


def test_an_endpoint_that_is_updated_has_two_fleets_since_the_last_look() -> None:
    meter = Meter(limit_usd=10, endpoint_usd_per_hour=2)
    meter.look(runs_with_endpoint(NOW), NOW + timedelta(hours=1))
    meter.look(runs_with_endpoint(NOW, "Updating"), NOW + timedelta(hours=1.5))
    assert meter.usd == (1.5 + 0.5) * 2


def test_an_endpoint_that_is_older_than_it_was_spends_the_budget() -> None:
    meter = Meter(limit_usd=10, endpoint_usd_per_hour=2)
    meter.look(runs_with_endpoint(NOW), NOW)
    with pytest.raises(FineTuningError, match=r"has cost about 400\.00 USD") as refused:
        meter.look(runs_with_endpoint(NOW - timedelta(hours=200)), NOW)
    assert refused.value.code == Code.BUDGET_SPENT


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_prints_how_a_removal_ended_and_no_step_of_it(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    monkeypatch.setattr("finetuning_cli.live.removal._executions", lambda _: [])
    client("s3").put_object(Bucket=deployment.upload_bucket, Key=f"runs/{FIRST}/chats.jsonl", Body=b"{}")
    code, shown = finetune("first-run", "--remove", "--yes", *(["-q"] if quiet else []))
    assert code == 0
    assert shown.splitlines()[-1] == "Nothing is left."
    assert (f"Deleted 1 object in {deployment.upload_bucket}" in shown) is not quiet


def test_json_has_one_document_also_where_nothing_is_started(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuning_cli.live.removal._executions", lambda _: [])
    monkeypatch.setattr(ModelFacts, "live", lambda region: ModelFacts.kept(FACTS))
    code, shown = finetune("first-run", "--remove", "--yes", "--json")
    assert (code, json.loads(shown)) == (0, {"left": []})
    with pytest.raises(RunRefused) as refused:
        finetune("first-run", "--yes", "--json")
    assert {finding.code for finding in refused.value.findings} == {Code.EULA_NOT_ACCEPTED}


def test_nothing_is_started_whose_evidence_could_not_be_kept(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ModelFacts, "live", lambda region: ModelFacts.kept(FACTS))
    monkeypatch.setattr("finetuning_cli.live.removal._executions", lambda _: [])
    monkeypatch.setattr(FirstRun, "carry_out", lambda _: pytest.fail("it was started"))
    (tmp_path / "taken").touch()
    words = ["first-run", "--accept-eula", "--yes", "--evidence", str(tmp_path / "taken" / "live")]
    assert finetune(*words)[0] == 2
    assert "--evidence" in finetune.stderr


# However it ends, everything is removed


def any_first_run(tell: Callable[[str], None] = lambda _: None) -> FirstRun:
    """One that gets no further than the check of the account."""
    runs = cast(FirstRuns, SimpleNamespace(deployment=SimpleNamespace(stage="dev")))
    meter = cast(Meter, SimpleNamespace(look=lambda runs, now: None))
    return FirstRun(runs, meter, "us-east-1", MODEL, accept_eula=True, run_budget_usd=1, tell=tell)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The deployments from which everything was removed. What is checked after that is nothing here."""
    deployments: list[object] = []
    monkeypatch.setattr(first_run, "remove", lambda deployment, tell: deployments.append(deployment))
    monkeypatch.setattr(first_run, "CHECKS", {})
    return deployments


def test_an_answer_in_another_form_does_not_end_the_first_run(
    removed: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected() -> Iterator[Check]:
        raise KeyError("Endpoints")

    def serve(_: FirstRun) -> None:
        raise FineTuningError(Code.RUN_NOT_STARTED, "It did not start.", "Look.")

    monkeypatch.setattr(first_run, "account_checks", lambda region, stage: {"prices": unexpected})
    monkeypatch.setattr(FirstRun, "_serve", serve)
    first = any_first_run()
    assert first.carry_out() == "RUN_NOT_STARTED: It did not start. Look."
    assert first.observations["prices"] == Observation(None, "the check failed: KeyError: 'Endpoints'")
    assert len(removed) == 1


def test_a_defect_of_the_command_ends_it_with_the_removal(
    removed: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(region: str, stage: str) -> dict[str, Any]:
        raise AttributeError("no such thing")

    monkeypatch.setattr(first_run, "account_checks", fail)
    assert any_first_run().carry_out() == "AttributeError: no such thing"
    assert len(removed) == 1


def test_lines_that_nobody_can_read_any_more_end_nothing() -> None:
    """Ctrl-C also ends the other program of a pipe, such as `tee`, and a closed terminal takes no more lines."""
    program = (
        "import sys; from rich.console import Console; from finetuning_cli.display.first_run import teller\n"
        "tell = teller(Console()); sys.stdin.read(); tell('Removing everything.'); tell('Removed.')\n"
        "print('went on', file=sys.stderr)"
    )
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == "went on\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_closed_terminal_ends_it_as_ctrl_c_does(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with as_interrupt():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # a second one does not end the removal
    assert signal.getsignal(number) == before


def test_a_hang_up_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with as_interrupt():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
