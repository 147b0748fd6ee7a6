import json
from collections.abc import Callable

import pytest

from cli.stage.deployment import Deployment
from cli.stage.endpoints import list_endpoints
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.comparison import Ask, Reply
from finetuning.runs.layout import RunLayout
from finetuning.runs.names import TEMPORARY
from tests.builders.runs import RUN_ID, any_plan, any_status
from tests.unit.cli.conftest import Command, write, write_status
from tests.unit.cli.test_deployment import any_endpoint_of

OURS = f"arn:aws:states:us-east-1:123456789012:execution:machine:{RUN_ID}-again"
"""The execution that `finetune deploy` starts."""


def answering(monkeypatch: pytest.MonkeyPatch, reply: Reply) -> list[str]:
    """Endpoints that give that reply; returns the list of what they are sent."""
    sent: list[str] = []

    def asker(endpoint: str) -> Ask:
        def ask(inputs: str) -> Reply:
            sent.append(inputs)
            return reply

        return ask

    def stream_answer(endpoint: str, inputs: str, on_text: Callable[[str], None]) -> Reply:
        on_text(reply.text)
        return asker(endpoint)(inputs)

    monkeypatch.setattr("finetuning.aws.sagemaker_runtime.asker", asker)
    monkeypatch.setattr("finetuning.aws.sagemaker_runtime.stream_answer", stream_answer)
    return sent


def test_a_question_takes_the_form_the_run_was_trained_on(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    template = {"prompt": "Q: {question}", "completion": "{answer}"}
    write(RunLayout(RUN_ID).plan, any_plan(task="instruction", template=template).model_dump_json())
    sent = answering(monkeypatch, Reply("Arr.", 900))
    assert finetune("ask", RUN_ID, "Why?") == (0, "Arr.\n")
    finetune("ask", RUN_ID, "Why?", "--raw")
    finetune("ask", RUN_ID, "Why?", "--system", "Speak Latin.")
    assert sent[:2] == ["Q: Why?\n\n### Response:\n", "Why?"]
    assert "Speak Latin.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>" in sent[2]


def test_an_endpoint_that_fails_to_answer_is_an_error(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    answering(monkeypatch, Reply("", 5, error="ModelError: out of memory"))
    with pytest.raises(FineTuningError, match="out of memory"):
        finetune("ask", RUN_ID, "Why?")


def test_an_answer_cannot_drive_the_terminal(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    answering(monkeypatch, Reply("\x1b[2J[bold]gone[/bold]", 5))
    assert finetune("ask", RUN_ID, "Why?") == (0, "␛[2J[bold]gone[/bold]\n")


def test_json_prints_the_whole_and_whether_it_was_cut_off(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    answering(monkeypatch, Reply(" Arr", 900, finished=False))
    assert finetune("ask", RUN_ID, "Why?")[1] == "Arr\n"
    printed = json.loads(finetune("ask", RUN_ID, "Why?", "--json")[1])
    assert (printed["endpoint"], printed["answer"], printed["finished"]) == (f"finetune-dev-{RUN_ID}", " Arr", False)


def test_endpoints_are_listed_with_what_they_cost(deployment: Deployment, finetune: Command) -> None:
    assert "nothing costs money" in finetune("endpoints")[1]
    any_endpoint_of(RUN_ID)
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    assert "37.69 USD/h" in finetune("endpoints")[1]
    assert json.loads(finetune("endpoints", "--json")[1])[0]["ttl_hours"] == 8


def test_nothing_is_deleted_without_a_yes(deployment: Deployment, finetune: Command) -> None:
    any_endpoint_of(RUN_ID)
    write_status(any_status())
    code, output = finetune("clean-up", RUN_ID, stdin="n\n")
    assert code == 1
    assert f"endpoint finetune-dev-{RUN_ID}" in output
    assert list(list_endpoints(deployment))


@pytest.mark.parametrize("suffix", TEMPORARY)
def test_an_endpoint_for_an_evaluation_is_not_deleted_without_a_yes_either(
    suffix: str, deployment: Deployment, finetune: Command
) -> None:
    write_status(any_status())
    name = f"finetune-dev-{RUN_ID}{suffix}"
    any_endpoint_of(RUN_ID, name=name, config=name)
    code, output = finetune("clean-up", RUN_ID, stdin="n\n")
    assert code == 1
    assert f"endpoint {name}" in output
    assert finetune("clean-up", RUN_ID, stdin="y\n")[0] == 0
    assert not list(list_endpoints(deployment))


def test_cleaning_up_everything_deletes_every_runs_endpoint(deployment: Deployment, finetune: Command) -> None:
    for run_id in ("pirate-00000001", "pirate-00000002"):
        any_endpoint_of(run_id)
    write_status(any_status(run_id="pirate-00000001"))  # the other's files are gone from the bucket
    code, output = finetune("clean-up", "--all", "--yes", "--json")
    assert code == 0
    assert len(json.loads(output)["done"]) == 2
    assert not list(list_endpoints(deployment))


@pytest.mark.parametrize("words", [["clean-up"], ["clean-up", RUN_ID, "--all"]])
def test_cleaning_up_wants_one_run_or_all_of_them(words: list[str], finetune: Command) -> None:
    assert finetune(*words)[0] == 2


@pytest.mark.parametrize(("ended", "code"), [("SUCCEEDED", Code.RUN_STILL_RUNNING), ("FAILED", Code.RUN_NOT_STARTED)])
def test_a_deployment_that_ends_before_it_has_the_run_is_not_waited_for(
    ended: str, code: Code, deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status())
    monkeypatch.setattr("cli.stage.runs.redeploy", lambda deployment, run_id, ttl_hours: OURS)
    monkeypatch.setattr("cli.stage.runs.execution_status", lambda arn: ended)
    with pytest.raises(FineTuningError) as caught:
        finetune("deploy", RUN_ID)
    assert caught.value.code == code


def test_a_deployment_that_has_the_run_can_be_followed(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status(execution_arn=OURS))
    monkeypatch.setattr("cli.stage.runs.redeploy", lambda deployment, run_id, ttl_hours: OURS)
    monkeypatch.setattr("cli.stage.runs.execution_status", lambda arn: "FAILED")  # later, and told in the run
    assert f"finetune watch {RUN_ID} --stage dev" in finetune("deploy", RUN_ID)[1]
