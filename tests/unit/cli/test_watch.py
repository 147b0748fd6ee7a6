"""`finetune watch`: following a run to its end, and its result."""

import io
import json
import re

import pytest
from botocore.exceptions import EndpointConnectionError, UnauthorizedSSOTokenError
from rich.console import Console

from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.evaluation.verdict import judged, verdict
from finetuning.operations.run import Run
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import Cost, Rung, RunState, RunStatus, Verdict
from finetuning.runs.training_steps import TrainingSteps
from finetuning_cli.display.answers import answers_table
from finetuning_cli.display.following import follow
from finetuning_cli.display.runs import progress
from finetuning_cli.stage.deployment import Deployment
from tests.builders.answers import any_judgement
from tests.builders.cli import Command, write, write_status
from tests.builders.runs import RUN_ID, any_evaluation, any_failed_status, any_plan, any_status, at


@pytest.fixture(autouse=True)
def execution_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetuning_cli.stage.runs.execution_status", lambda arn: "SUCCEEDED")


def any_console() -> Console:
    return Console(record=True, force_terminal=False, width=200)


def test_every_event_and_metric_is_printed_once(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    done = any_status()
    begun = done.model_copy(update={"state": RunState.RUNNING, "events": done.events[:2], "metrics": []})
    training = done.model_copy(
        update={"state": RunState.RUNNING, "events": done.events[:4], "metrics": done.metrics[:2]}
    )
    answers: list[RunStatus | None] = [None, begun, begun, training, done]
    monkeypatch.setattr(Run, "find_status", lambda self: answers.pop(0))
    console = any_console()
    assert follow(deployment.run(RUN_ID), console, poll_seconds=0) == done
    lines = console.export_text().splitlines()
    assert len([line for line in lines if "metric" not in line]) == len(done.events)
    assert len([line for line in lines if " metric " in line]) == len(done.metrics)
    assert "09:00:04Z PlanRun" in lines[0]


def test_a_pipe_gets_a_line_at_each_tenth_of_the_training(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(step: int) -> RunStatus:
        last = TrainingSteps(time=at(step), epoch=2, epochs=2, step=step, steps=100, loss=1.5)
        return any_status(state=RunState.RUNNING, last_steps=last, metrics=[], events=[])

    done = any_status(metrics=[], events=[])
    answers = [*map(trained, (1, 2, 19, 20, 21, 60, 100)), done]
    monkeypatch.setattr(Run, "find_status", lambda self: answers.pop(0))
    console = any_console()
    follow(deployment.run(RUN_ID), console, poll_seconds=0)
    lines = console.export_text().splitlines()
    assert lines[1] == "09:00:20Z progress          Epoch 2 of 2, step 20 of 100, loss 1.5 (60 %)"
    assert [line.rpartition("(")[2] for line in lines] == ["50 %)", "60 %)", "80 %)", "100 %)"]


def test_a_run_that_does_not_start_is_an_error(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetuning_cli.stage.runs.START_WITHIN_SECONDS", 0)
    with pytest.raises(FineTuningError) as caught:
        follow(deployment.run(RUN_ID), any_console(), poll_seconds=0)
    assert caught.value.code == Code.RUN_NOT_STARTED
    assert "--stage" in caught.value.fix  # the run may be another stage's


def test_an_execution_that_ended_without_a_final_status_is_an_error(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status(state=RunState.RUNNING))
    monkeypatch.setattr("finetuning_cli.stage.runs.SILENT_SECONDS", 0)
    monkeypatch.setattr("finetuning_cli.stage.runs.execution_status", lambda arn: "TIMED_OUT")
    with pytest.raises(FineTuningError) as caught:
        follow(deployment.run(RUN_ID), any_console(), poll_seconds=0)
    assert caught.value.code == Code.RUN_ABORTED
    assert "ReportSuccess" in caught.value.message


def test_an_aborted_run_has_time_to_report(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    running = any_status(state=RunState.RUNNING)
    aborted = running.model_copy(update={"state": RunState.ABORTED})
    answers = [running, running, aborted]
    monkeypatch.setattr("finetuning_cli.stage.runs.SILENT_SECONDS", 0)
    monkeypatch.setattr(Run, "find_status", lambda self: answers.pop(0))
    monkeypatch.setattr("finetuning_cli.stage.runs.execution_status", lambda arn: "ABORTED")
    assert follow(deployment.run(RUN_ID), any_console(), poll_seconds=0) == aborted


def looks(monkeypatch: pytest.MonkeyPatch, *found: RunStatus | Exception) -> None:
    """What each look at the status finds."""
    answers = list(found)

    def find_status(_: Run) -> RunStatus:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Run, "find_status", find_status)


def unreachable(cause: Exception) -> TransientAwsError:
    error = TransientAwsError(Code.AWS_UNAVAILABLE, f"Cannot reach AWS to read the status: {cause}", "Try again.")
    error.__cause__ = cause
    return error


def test_a_network_that_fails_for_a_moment_does_not_end_the_watching(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run takes hours, in which a laptop sleeps and changes its network."""
    begun, lost = any_status(state=RunState.RUNNING), unreachable(EndpointConnectionError(endpoint_url="s3"))
    looks(monkeypatch, lost, begun, lost, lost, any_status())
    assert follow(deployment.run(RUN_ID), any_console(), poll_seconds=0) == any_status()
    monkeypatch.setattr("finetuning_cli.stage.runs.UNREACHABLE_SECONDS", -1)
    looks(monkeypatch, begun, lost)
    with pytest.raises(TransientAwsError):
        follow(deployment.run(RUN_ID), any_console(), poll_seconds=0)


def test_a_session_that_has_ended_ends_the_watching_at_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks(monkeypatch, any_status(state=RunState.RUNNING), unreachable(UnauthorizedSSOTokenError()))
    with pytest.raises(TransientAwsError):
        follow(deployment.run(RUN_ID), any_console(), poll_seconds=0)


def test_following_ends_with_the_execution_which_writes_the_report_last(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status())
    lost = unreachable(EndpointConnectionError(endpoint_url="states"))
    executions: list[str | Exception] = ["RUNNING", lost, "RUNNING", "SUCCEEDED"]

    def execution_status(_: str) -> str:
        answer = executions.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("finetuning_cli.stage.runs.execution_status", execution_status)
    follow(deployment.run(RUN_ID), any_console(), poll_seconds=0)
    assert executions == []


def test_the_live_view_ends_with_every_step(deployment: Deployment) -> None:
    write_status(any_status())
    console = Console(record=True, force_terminal=True, width=120)
    follow(deployment.run(RUN_ID), console, poll_seconds=0)
    text = console.export_text()
    for step in ("PlanRun", "FinishDataset", "StartTraining", "DescribeTraining", "EvaluateAnswers", "ReportSuccess"):
        assert step in text


def any_training(instance_type: str = "ml.p4d.24xlarge", **changes: object) -> RunStatus:
    """A run whose training began at 0:25, as it stands some time later."""
    done = any_status()
    rung = Rung(attempt=0, instance_type=instance_type, job_name="job", time=at(25))
    going_on = {"state": RunState.RUNNING, "step": "DescribeTraining", "events": done.events[:4], "ladder": [rung]}
    return done.model_copy(update=going_on | changes)


def shown_live(status: RunStatus, seconds: float, width: int = 120, **environment: str) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, _environ=environment)
    console.print(progress(status, at(seconds), any_plan()))
    return screen.getvalue()


def test_the_live_view_shows_the_remaining_training_time_and_the_cost() -> None:
    text = shown_live(any_training(cost=Cost(estimate_usd=41.10)), 25 + 1963)
    assert "Training for 32:43 of about 1:05:26, about 32:43 left; at most 20.55 USD so far" in text
    assert "about 41.10 USD predicted" in text
    assert "longer than predicted" in shown_live(any_training(), 9_000)


def test_the_live_view_uses_the_estimate_of_the_jobs_instance_type() -> None:
    assert "of about 2:30:00" in shown_live(any_training("ml.g5.48xlarge"), 25 + 600)


def test_a_run_that_does_not_train_shows_no_remaining_time() -> None:
    waiting = any_training()
    waiting = waiting.model_copy(
        update={
            "ladder": [waiting.ladder[0].model_copy(update={"outcome": "no_capacity"})],
            "progress": "Waits for p4d",
        }
    )
    assert "Waits for p4d" in shown_live(waiting, 500)
    for status in (any_status(), waiting):
        assert " left" not in shown_live(status, 500)


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_view_fits_the_terminal_and_respects_no_color(width: int) -> None:
    lines = shown_live(any_training(), 600, width, NO_COLOR="1").splitlines()
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in lines) <= width
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", "\n".join(lines))
    assert re.search(r"\x1b\[(?:\d+;)*3\d", shown_live(any_training(), 600, width, TERM="xterm-256color"))


def test_a_successful_run_ends_with_answers_beside_the_base_models(deployment: Deployment, finetune: Command) -> None:
    write_status(any_status())
    write(RunLayout(RUN_ID).evaluation, any_evaluation().model_dump_json())
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    code, output = finetune("watch", "pirate")
    assert code == 0
    for expected in (
        "Licence accepted by account 123456789012 in S3 request N4N7GDK58NMKJ12R with s3://upload/runs/pirate/run.json",
        "base",
        "tuned",
        "reference",
        "Arr, rivers bring the salt",
        "4.05 → 0.73",
        "finetune ask",
        "report.html",
    ):
        assert expected in output


def test_what_a_judge_says_follows_the_verdict(deployment: Deployment, finetune: Command) -> None:
    write_status(any_status())
    evaluation = any_evaluation()
    rows = [row.model_copy(update={"judged": "base"}) for row in evaluation.rows]
    judgement = any_judgement()
    evaluation = evaluation.model_copy(update={"rows": rows, "judgement": judgement})
    write(RunLayout(RUN_ID).evaluation, evaluation.model_dump_json())
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    output = finetune("watch", "pirate")[1]
    assert f"{verdict(evaluation)}\n{judged(judgement)}\n" in output
    assert "judge: base" in output


def test_mean_scores_name_the_number_of_prompts() -> None:
    table = answers_table(any_evaluation())
    footers = ["mean of 1 prompt with a reference", "ROUGE-L 0.13 · exact 0%", "ROUGE-L 0.53 · exact 0%", ""]
    assert [column.footer for column in table.columns] == footers


def test_of_many_answers_three_are_shown() -> None:
    evaluation = any_evaluation()
    (row, *_) = [each for each in evaluation.rows if each.tuned.scores]
    table = answers_table(evaluation.model_copy(update={"rows": [row.model_copy() for _ in range(40)]}))
    assert table.row_count == 3
    assert table.caption == "37 more answers: on the report page"


def test_a_run_can_be_watched_by_id_before_it_starts(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [None, None, any_status()]
    monkeypatch.setattr(Run, "find_status", lambda self: answers.pop(0))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert finetune("watch", RUN_ID)[0] == 0


def test_a_failed_run_ends_with_the_error_its_fix_and_exit_code_1(deployment: Deployment, finetune: Command) -> None:
    write_status(any_failed_status())
    code, output = finetune("watch", RUN_ID)
    assert code == 1
    assert "line 7 of chat.jsonl is not JSON" in output
    assert "→ Fix line 7." in output


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (None, 0),
        (Verdict.HELPED, 0),
        (Verdict.NOT_COMPARED, 0),
        (Verdict.NO_CHANGE, 3),
        (Verdict.WORSE, 4),
    ],
)
def test_the_exit_code_of_a_run_that_succeeded_follows_its_verdict(
    deployment: Deployment, finetune: Command, verdict: Verdict | None, code: int
) -> None:
    write_status(any_status(verdict=verdict))
    assert finetune("watch", RUN_ID)[0] == code


def test_all_findings_of_a_refused_run_are_shown(deployment: Deployment, finetune: Command) -> None:
    findings = [{"code": "X", "field": f"field.{n}", "message": f"wrong {n}", "fix": f"fix {n}"} for n in range(5)]
    error = {"code": "RUN_REFUSED", "message": "wrong 0 (and 4 more)", "fix": "fix 0", "findings": findings}
    write_status(any_failed_status(error=error))
    _, output = finetune("watch", RUN_ID)
    for n in range(5):
        assert f"✗ field.{n}: wrong {n}" in output
        assert f"→ fix {n}" in output


def test_watch_as_json_prints_one_document(deployment: Deployment, finetune: Command) -> None:
    write_status(any_failed_status())
    code, output = finetune("watch", RUN_ID, "--json")
    assert code == 1
    document = json.loads(output)
    assert document["status"]["error"]["code"] == "DATASET_REFUSED"
    assert document["evaluation"] is None


def test_ctrl_c_stops_watching_but_not_the_run(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> RunStatus:
        raise KeyboardInterrupt

    write_status(any_status(state=RunState.RUNNING))
    monkeypatch.setattr("finetuning_cli.display.following.follow", interrupted)
    code, output = finetune("watch", RUN_ID)
    assert code == 130
    assert f"the run is still running. Come back with: finetune watch {RUN_ID} --stage dev" in output
