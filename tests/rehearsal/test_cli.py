"""Every command of `finetune`, run against the deployed product; cli/*.txt show what each prints."""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from finetuning_cli.main import COMMANDS
from rehearsal.running import PROJECT
from tests.rehearsal.support.product import SETTINGS, Product, any_chats
from tests.rehearsal.support.terminal import GOLDENS, Said, Terminal

RUN_JSON = SETTINGS | {
    "endpoint": {"deploy": True, "name": "parrot", "instance_type": "ml.g5.2xlarge"},
    "evaluation": {"prompts": 2, "compare_with_base": False},
    "training": {"instance_type": "ml.g5.12xlarge", "fallback_instance_types": []},
}
LIVE = {"verify-aws", "first-run"}
"""Have a file of their own, test_first_run."""


@pytest.fixture(scope="module")
def terminal(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """In a folder with good data, bad data, and a run.json that is refused."""
    folder = tmp_path_factory.mktemp("desk")
    chats, bad, refused = (folder / name for name in ("parrots", "bad", "refused"))
    for each in (chats, bad, refused):
        each.mkdir()
    (chats / "chats.jsonl").write_bytes(b"".join(any_chats(16)))
    (chats / "run.json").write_text(json.dumps(RUN_JSON))
    lines = any_chats(8)
    lines[2] = b'{"messages": [{"role": "user"\n'
    (bad / "chats.jsonl").write_bytes(b"".join(lines))
    shutil.copy(chats / "chats.jsonl", refused)
    (refused / "run.json").write_text(json.dumps(RUN_JSON | {"accept_eula": False, "hyperparameters": {"epoch": 0}}))
    return Terminal(product.emulator, folder)


@dataclass(frozen=True)
class Followed:
    """One run, submitted and followed in one terminal, and followed in two others that started while it was running."""

    run_id: str
    first: Said
    second: Said
    interrupted: Said
    report_too_early: Said


@pytest.fixture(scope="module")
def followed(terminal: Terminal, product: Product) -> Followed:
    product.emulator.inject("endpoint-hangs", match="parrot")  # or the others come too late to see anything
    first = terminal.start("submit", "parrots", "--watch")
    (run_id,) = _ids(terminal, "parrots")
    product.until(run_id, lambda status: status.get("step") in ("DeployEndpoint", "DescribeEndpoint"), 600)
    second, third = terminal.start("watch", "parrots"), terminal.start("watch", run_id)
    third.until("PlanRun")
    third.interrupt()
    early = terminal.finetune("report", "parrots")
    product.emulator.clear_faults("parrot")
    return Followed(run_id, first.said(), second.said(), third.said(), early)


def _ids(terminal: Terminal, name: str) -> list[str]:
    """The ids of the runs of that name, once there is one."""
    for _ in range(200):
        found = [run["run_id"] for run in terminal.finetune("runs", "--json").json if run["run_id"].startswith(name)]
        if found:
            return found
    raise AssertionError(f"no run {name} started")


def test_help_is_readable(terminal: Terminal) -> None:
    terminal.finetune("--help").assert_matches("help", exactly=True)


@pytest.mark.parametrize("command", [name for commands in COMMANDS.values() for name in commands])
def test_each_command_has_help_with_examples(terminal: Terminal, command: str) -> None:
    terminal.finetune(command, "--help").assert_matches(f"help-{command}", exactly=True)


def test_a_run_json_is_made_from_answers(terminal: Terminal) -> None:
    answers = "".join(f"{answer}\n" for answer in ("5", "chat", "yes", "20"))
    terminal.finetune("init", "fresh", answer=answers).assert_matches("init", exactly=True)
    assert json.loads((terminal.folder / "fresh" / "run.json").read_text())["accept_eula"] is True
    terminal.finetune("init", "fresh").assert_matches("init-again", exactly=True)


def test_data_is_checked_before_it_is_uploaded(terminal: Terminal) -> None:
    terminal.finetune("check", "parrots").assert_matches("check", exactly=True)
    terminal.finetune("check", "bad").assert_matches("check-refused", exactly=True)
    terminal.finetune("prepare", "parrots", "--out", "prepared").assert_matches("prepare", exactly=True)
    terminal.finetune("plan", "parrots").assert_matches("plan", exactly=True)
    terminal.finetune("plan", "refused").assert_matches("plan-refused", exactly=True)
    terminal.finetune("models").assert_matches("models", exactly=True)


def test_a_job_of_openai_becomes_a_run(terminal: Terminal) -> None:
    shutil.copytree(PROJECT / "examples" / "openai", terminal.folder / "job")
    words = ("from-openai", "job/training.jsonl", "job/validation.jsonl", "--job", "job/job.json", "--out", "workshop")
    terminal.finetune(*words).assert_matches("from-openai", exactly=True)


def test_data_that_would_be_refused_is_not_uploaded(terminal: Terminal) -> None:
    terminal.finetune("submit", "bad").assert_matches("submit-bad-data", exactly=True)


def test_a_refused_run_lists_all_findings(terminal: Terminal) -> None:
    terminal.finetune("submit", "refused", "--watch").assert_matches("submit-refused")  # before anything is uploaded
    terminal.finetune("submit", "refused", "--no-check", "--watch").assert_matches("submit-refused-by-the-workflow")


def test_a_run_is_submitted_and_followed_to_its_answers(followed: Followed) -> None:
    followed.first.assert_matches("submit-watch")


def test_a_run_can_be_followed_in_a_second_terminal(followed: Followed) -> None:
    followed.second.assert_matches("watch")
    events = [
        line for line in followed.second.printed.splitlines() if " DeployEndpoint " in line or " PlanRun " in line
    ]
    assert [line for line in events if line in followed.first.printed] == events  # with the same times
    assert len(events) >= 2


def test_ctrl_c_stops_watching_but_not_the_run(followed: Followed) -> None:
    printed = followed.interrupted.printed.splitlines(keepends=True)
    parting = "".join(line for line in printed if not line[:1].isdigit())  # its progress varies
    replace(followed.interrupted, printed=parting).assert_matches("watch-interrupted")
    assert followed.first.code == 0


def test_there_is_no_report_link_while_the_run_is_running(followed: Followed) -> None:
    followed.report_too_early.assert_matches("report-too-early")


def test_runs_and_endpoints_are_listed_with_what_they_cost(terminal: Terminal, followed: Followed) -> None:
    listed = terminal.finetune("runs").printed
    assert followed.run_id in listed
    terminal.finetune("endpoints").assert_matches("endpoints")


def test_an_endpoint_answers_a_question(terminal: Terminal, followed: Followed) -> None:
    said = terminal.finetune("ask", "parrot", "What is 3 and 3?", "--json")
    assert (said.code, said.json["endpoint"]) == (0, "finetune-dev-parrot")
    terminal.finetune("ask", "cockatoo", "What is 3 and 3?").assert_matches("ask-unknown")


def test_an_endpoint_has_a_token_for_openai_s_clients(terminal: Terminal, followed: Followed) -> None:
    said = terminal.finetune("token", "parrot", "--quiet")
    assert (said.code, said.printed.count("\n"), said.printed[:18]) == (0, 1, "sagemaker-api-key-")
    terminal.finetune("token", "cockatoo").assert_matches("token-unknown")


def test_an_endpoint_is_evaluated_again_and_a_run_compared_with_itself(terminal: Terminal, followed: Followed) -> None:
    again = terminal.finetune("evaluate", "parrots", "--json")
    assert (again.code, again.json["endpoint"], again.json["verdict"]) == (0, "finetune-dev-parrot", "not compared")
    assert f"/runs/{followed.run_id}/evaluations/" in again.json["kept"]
    same = terminal.finetune("compare", "parrots", "parrots", "--html", "compared.html", "--json")
    assert (same.code, same.json["comparison"]["gain"], same.json["differences"]) == (0, 0, [])
    assert f"Too few prompts to tell {followed.run_id}" in (terminal.folder / "compared.html").read_text()


def test_an_endpoint_can_be_kept_longer(terminal: Terminal, followed: Followed) -> None:
    said = terminal.finetune("extend", "parrot", "--hours", "4", "--json")
    assert (said.code, said.json["endpoint"]) == (0, "finetune-dev-parrot")
    terminal.finetune("extend", "cockatoo", "--hours", "4").assert_matches("extend-unknown")


def test_an_endpoint_that_served_one_model_only_cannot_be_rolled_back(terminal: Terminal, followed: Followed) -> None:
    terminal.finetune("rollback", "parrot").assert_matches("rollback-nothing")


def test_a_report_can_be_opened_by_a_link_and_saved(terminal: Terminal, followed: Followed) -> None:
    terminal.finetune("report", "parrots").assert_matches("report")
    terminal.finetune("report", "parrots", "--save", "report.html").assert_matches("report-saved")
    assert followed.run_id in (terminal.folder / "report.html").read_text()


def test_the_model_and_the_log_of_a_run_can_be_read(terminal: Terminal, followed: Followed) -> None:
    downloaded = terminal.finetune("download", "parrots", "model")
    assert downloaded.code == 0
    sums = (terminal.folder / "model" / "SHA256SUMS").read_text().splitlines()
    assert sums
    for line in sums:
        digest, name = line.split("  ", 1)
        assert hashlib.sha256((terminal.folder / "model" / name).read_bytes()).hexdigest() == digest
    log = terminal.finetune("logs", "parrots", "--json").json["lines"]
    assert any("loss" in line for line in log), log[-5:]
    followed_log = terminal.finetune("logs", "parrots", "--follow")
    assert (followed_log.code, len(followed_log.printed.splitlines())) == (0, len(log))


def test_a_run_that_does_not_wait_for_approval_cannot_be_answered(terminal: Terminal, followed: Followed) -> None:
    terminal.finetune("approve", "parrots").assert_matches("approve-not-waiting")
    terminal.finetune("reject", "parrots").assert_matches("reject-not-waiting")


def test_a_stage_without_another_account_promotes_nothing(terminal: Terminal) -> None:
    model = "arn:aws:sagemaker:us-east-1:111122223333:model-package/finetune-dev-faq/3"
    terminal.finetune("promote", model).assert_matches("promote-disabled", exactly=True)


def test_clean_up_asks_for_confirmation(terminal: Terminal, followed: Followed) -> None:
    terminal.finetune("clean-up", "parrots", answer="n\n").assert_matches("clean-up-no")
    terminal.finetune("clean-up", "parrots", answer="y\n").assert_matches("clean-up")
    terminal.finetune("clean-up", "parrots", "--yes").assert_matches("clean-up-again")
    assert "finetune-dev-parrot" not in terminal.finetune("endpoints").printed


@pytest.mark.parametrize(
    "words",
    [
        *((name, "nobody") for name in ("watch", "logs", "open", "report", "stop", "deploy", "clean-up", "evaluate")),
        ("download", "nobody", "model"),
        ("compare", "nobody", "parrots"),
    ],
)
def test_an_unknown_run_is_an_error_with_a_fix(terminal: Terminal, words: tuple[str, ...]) -> None:
    terminal.finetune(*words).assert_matches(f"{words[0]}-unknown")


def test_a_stage_that_is_not_deployed_is_an_error_with_the_deploy_command(terminal: Terminal) -> None:
    terminal.finetune("runs", "--stage", "nowhere").assert_matches("no-deployment")
    assert terminal.finetune("runs", "--stage", "nowhere", "--json").json["error"]["code"] == "DEPLOYMENT_NOT_FOUND"


def test_wrong_usage_prints_the_right_usage(terminal: Terminal) -> None:
    terminal.finetune("clean-up").assert_matches("usage", exactly=True)


def test_every_command_has_a_golden_and_every_golden_is_used(terminal: Terminal) -> None:
    """The first line of a golden is the command."""
    source = Path(__file__).read_text()
    kept = {file.stem: file.read_text().split()[2] for file in GOLDENS.glob("*.txt")}
    typed = {name for golden, name in kept.items() if not golden.startswith("help")}
    wanted = {name for commands in COMMANDS.values() for name in commands}
    assert wanted - typed <= LIVE
    left_over = [stem for stem in kept if f'"{stem}"' not in source and not stem.startswith("help-")]
    assert [stem for stem in left_over if not stem.endswith("-unknown")] == []
