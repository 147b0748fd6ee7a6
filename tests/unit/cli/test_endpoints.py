"""`finetune ask`, `endpoints`, `extend` and `rollback`."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError

from finetuning.aws.clients import client
from finetuning.errors import Code, EndpointFailed, FineTuningError, TransientAwsError
from finetuning.evaluation.comparison import Ask, Reply
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import RunState
from finetuning_cli.errors import to_cli_error
from finetuning_cli.stage.bearer_token import bearer_token
from finetuning_cli.stage.conversation import Conversation
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.endpoints import (
    extend_endpoint,
    find_endpoint,
    is_rolled_back,
    list_endpoints,
    roll_back,
)
from tests.builders.aws import client_error
from tests.builders.cli import Command, any_endpoint_of, write, write_status
from tests.builders.runs import RUN_ID, any_plan, any_status


def answering(monkeypatch: pytest.MonkeyPatch, reply: Reply) -> list[str]:
    """Endpoints that give that reply; returns the list of what they are sent."""
    sent: list[str] = []

    def asker(endpoint: str, stop_token_ids: Sequence[int] = (), max_new_tokens: int = 256) -> Ask:
        def ask(inputs: str) -> Reply:
            sent.append(inputs)
            return reply

        return ask

    def stream_answer(
        endpoint: str,
        inputs: str,
        on_text: Callable[[str], None],
        stop_token_ids: Sequence[int] = (),
        max_new_tokens: int = 256,
    ) -> Reply:
        on_text(reply.text)
        return asker(endpoint, stop_token_ids)(inputs)

    monkeypatch.setattr("finetuning.aws.sagemaker_runtime.asker", asker)
    monkeypatch.setattr("finetuning.aws.sagemaker_runtime.stream_answer", stream_answer)
    return sent


def test_a_question_has_the_format_the_run_was_trained_on(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    template = {"prompt": "Q: {question}", "completion": "{answer}"}
    write(RunLayout(RUN_ID).plan, any_plan(task="instruction", data_options={"template": template}).model_dump_json())
    sent = answering(monkeypatch, Reply("Arr.", 900))
    assert finetune("ask", RUN_ID, "Why?") == (0, "Arr.\n")
    finetune("ask", RUN_ID, "Why?", "--raw")
    finetune("ask", RUN_ID, "Why?", "--system", "Speak Latin.")
    assert sent[:2] == ["Q: Why?\n\n### Response:\n", "Why?"]
    assert "Speak Latin.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>" in sent[2]


def test_a_question_may_come_from_standard_input_and_go_to_a_runs_endpoint(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID, name="finetune-dev-parrot")
    write_status(any_status(state=RunState.SUCCEEDED, endpoint="finetune-dev-parrot"))
    sent = answering(monkeypatch, Reply("Arr.", 900))
    name = RUN_ID.rpartition("-")[0]
    assert finetune("ask", name, "--raw", stdin="Why?\n") == (0, "Arr.\n")
    assert sent == ["Why?"]
    assert finetune("ask", name)[0] == 2


def test_a_conversation_sends_what_was_said_before(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    sent = answering(monkeypatch, Reply("Arr.", 900))
    code, output = finetune("ask", RUN_ID, "-i", "--system", "Be a pirate.", stdin="Who?\n\nWhy?\n")
    assert (code, output) == (0, "Arr.\nArr.\n")
    first, second = sent
    assert second.startswith(first + "Arr.<|eot_id|>")
    assert second.count("Be a pirate.") == 1
    assert second.endswith("Why?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")
    assert finetune("ask", RUN_ID, "Why?", "-i")[0] == 2


def test_the_longest_answer_can_be_chosen(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[dict[str, Any]] = []

    def invoke(**request: Any) -> dict[str, Any]:
        bodies.append(json.loads(request["Body"]))
        return {"Body": BytesIO(b'{"generated_text": "Arr."}')}

    monkeypatch.setattr(client("sagemaker-runtime"), "invoke_endpoint", invoke)
    assert Conversation("parrot", None, max_new_tokens=9).ask("Why?").text == "Arr."
    assert bodies[0]["parameters"]["max_new_tokens"] == 9


def test_an_endpoint_that_does_not_answer_is_an_error(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    answering(monkeypatch, Reply("", 5, error="ModelError: out of memory"))
    with pytest.raises(FineTuningError, match="out of memory"):
        finetune("ask", RUN_ID, "Why?")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_caller_who_may_not_ask_is_told_which_permission_is_missing(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    any_endpoint_of(RUN_ID)
    refusal = client_error("AccessDeniedException", "User: x is not authorized.", "InvokeEndpoint")

    def refuse(**_: Any) -> None:
        raise refusal

    for call in ("invoke_endpoint", "invoke_endpoint_with_response_stream"):
        monkeypatch.setattr(client("sagemaker-runtime"), call, refuse)
    with pytest.raises(FineTuningError) as denied:
        finetune("ask", RUN_ID, "Why?", *([] if streamed else ["--json"]))
    error = to_cli_error(denied.value)
    assert error.code == Code.ACCESS_DENIED
    assert (
        error.message == f"Access denied: cannot invoke the endpoint finetune-dev-{RUN_ID}: User: x is not authorized."
    )
    assert error.fix == "Ask the account administrator to allow InvokeEndpoint, or use another AWS_PROFILE."


def test_an_answer_cannot_drive_the_terminal(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    answering(monkeypatch, Reply("\x1b[2J[bold]gone[/bold]", 5))
    assert finetune("ask", RUN_ID, "Why?") == (0, "␛[2J[bold]gone[/bold]\n")


def test_json_has_the_whole_answer_and_whether_it_was_cut_off(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    answering(monkeypatch, Reply(" Arr", 900, finished=False))
    assert finetune("ask", RUN_ID, "Why?")[1] == "Arr\n"
    printed = json.loads(finetune("ask", RUN_ID, "Why?", "--json")[1])
    assert (printed["endpoint"], printed["answer"], printed["finished"]) == (f"finetune-dev-{RUN_ID}", " Arr", False)


def test_a_token_is_printed_alone_and_its_endpoint_and_end_with_json(deployment: Deployment, finetune: Command) -> None:
    any_endpoint_of(RUN_ID, name="finetune-dev-parrot")
    write(RunLayout(RUN_ID).plan, any_plan(task="chat").model_dump_json())
    url = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/finetune-dev-parrot/openai/v1"
    code, printed = finetune("token", "parrot")
    assert (code, printed.count("\n"), printed[:18]) == (0, 1, "sagemaker-api-key-")
    assert finetune.stderr == f"base_url: {url}\n"
    asked = datetime.now(UTC)
    made = json.loads(finetune("token", "parrot", "--hours", "12", "--json")[1])
    assert (made["endpoint"], made["base_url"]) == ("finetune-dev-parrot", url)
    signed = base64.b64decode(made["token"].removeprefix("sagemaker-api-key-")).decode()
    assert "X-Amz-Expires=43200&" in signed
    assert abs(datetime.fromisoformat(made["expires_at"]) - asked - timedelta(hours=12)) < timedelta(seconds=30)
    assert finetune("token", "parrot", "--hours", "13")[0] == 2


def test_a_token_for_a_model_that_knows_no_chats_says_so(deployment: Deployment, finetune: Command) -> None:
    any_endpoint_of(RUN_ID)
    write(RunLayout(RUN_ID).plan, any_plan(task="instruction").model_dump_json())
    finetune("token", RUN_ID)
    assert "was trained for instruction, not for chat." in finetune.stderr
    assert "OpenAI" not in finetune("endpoints")[1]


def test_a_token_needs_credentials(deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    any_endpoint_of(RUN_ID)
    monkeypatch.setattr(boto3, "Session", lambda: SimpleNamespace(get_credentials=lambda: None))
    with pytest.raises(NoCredentialsError):
        bearer_token("us-east-1", timedelta(hours=1))


def test_endpoints_are_listed_with_what_they_cost(deployment: Deployment, finetune: Command) -> None:
    assert "nothing costs money" in finetune("endpoints")[1]
    any_endpoint_of(RUN_ID)
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    assert "37.69 USD/h" in finetune("endpoints")[1]
    (listed,) = json.loads(finetune("endpoints", "--json")[1])
    assert listed["ttl_hours"] == 8
    assert listed["openai_base_url"].endswith(f"/endpoints/finetune-dev-{RUN_ID}/openai/v1")
    assert f"For OpenAI's clients: {listed['openai_base_url']}\n" in finetune("endpoints")[1]


def test_endpoints_are_found_by_prefix_and_tag_and_have_a_price(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    for name in ("somebody-elses", "finetune-dev-by-hand"):
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"finetune-dev-{RUN_ID}")
    (endpoint,) = list_endpoints(deployment)
    assert (endpoint.name, endpoint.run_id) == (f"finetune-dev-{RUN_ID}", RUN_ID)
    assert (endpoint.ttl_hours, endpoint.idle_minutes, endpoint.usd_per_hour) == (8.0, None, 37.69)
    assert endpoint.expires_at == endpoint.created_at + timedelta(hours=8)
    assert (endpoint.invocations_last_hour, endpoint.invocations_last_day) == (0, 0)


def test_extend_never_shortens_a_lifetime(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    name = f"finetune-dev-{RUN_ID}"
    (before,) = list_endpoints(deployment)
    assert before.expires_at
    extended = extend_endpoint(deployment, name, 1)
    assert extended
    assert extended.at == before.expires_at  # eight hours after it was made: an hour from now is sooner
    later = extend_endpoint(deployment, name, 20)
    assert later
    assert later.at > before.expires_at + timedelta(hours=11)
    again = extend_endpoint(deployment, name, 9)
    assert again == later


def test_an_endpoint_of_another_owner_is_not_extended(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    boto3.client("sagemaker", region_name="us-east-1").create_endpoint(
        EndpointName="somebody-elses", EndpointConfigName=f"finetune-dev-{RUN_ID}"
    )
    with pytest.raises(FineTuningError) as caught:
        extend_endpoint(deployment, "somebody-elses", 1)
    assert caught.value.code == Code.ENDPOINT_NOT_FOUND


def test_an_endpoint_is_found_with_and_without_the_stages_prefix(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    for name in (RUN_ID, f"finetune-dev-{RUN_ID}"):
        found, plan = find_endpoint(deployment, name)
        assert found == f"finetune-dev-{RUN_ID}"
        assert plan == any_plan()
    with pytest.raises(FineTuningError) as caught:
        find_endpoint(deployment, "other")
    assert caught.value.code == Code.ENDPOINT_NOT_FOUND


def test_an_answer_that_was_cut_off_says_so_on_standard_error(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    answering(monkeypatch, Reply("Arr", 900, finished=False))
    finetune("ask", RUN_ID, "Why?")
    assert "cut off at 256 tokens" in finetune.stderr


def test_extend_prints_the_new_expiry(deployment: Deployment, finetune: Command) -> None:
    any_endpoint_of(RUN_ID)
    name = f"finetune-dev-{RUN_ID}"
    printed = json.loads(finetune("extend", RUN_ID, "--hours", "20", "--json")[1])
    (endpoint,) = list_endpoints(deployment)
    assert printed == {"endpoint": name, "expires_at": endpoint.expires_at.isoformat() if endpoint.expires_at else None}
    assert f"{name} is kept until 20" in finetune("extend", RUN_ID, "--hours", "20")[1]


def test_an_endpoint_cannot_be_kept_longer_than_a_run_may_ask_for(deployment: Deployment, finetune: Command) -> None:
    any_endpoint_of(RUN_ID)
    assert finetune("extend", RUN_ID, "--hours", "1000000000")[0] == 2
    assert "at most 87,600 hours" in " ".join(finetune.stderr.replace("│", "").split())


def test_an_endpoint_that_never_expires_stays_so(deployment: Deployment, finetune: Command) -> None:
    any_endpoint_of(RUN_ID, ttl_hours="never")
    assert finetune("extend", RUN_ID, "--hours", "4")[1] == f"finetune-dev-{RUN_ID} never expires\n"
    assert json.loads(finetune("extend", RUN_ID, "--hours", "4", "--json")[1])["expires_at"] is None


def test_an_unreadable_limit_is_unknown(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID, ttl_hours="soon")
    (endpoint,) = list_endpoints(deployment)
    assert (endpoint.ttl_hours, endpoint.expires_at, endpoint.expiry_reason) == (None, None, "")


def test_rollback_waits_until_the_earlier_configuration_serves(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    answers: list[bool | Exception] = [False, TransientAwsError(Code.AWS_UNAVAILABLE, "Throttled.", "Wait."), True]

    def answer(*_: object) -> bool:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("finetuning_cli.stage.endpoints.roll_back", lambda deployment, name: "the-earlier-one")
    monkeypatch.setattr("finetuning_cli.stage.endpoints.is_rolled_back", answer)
    name = f"finetune-dev-{RUN_ID}"
    assert finetune("rollback", RUN_ID) == (0, f"{name} serves the-earlier-one again\n")
    answers.append(True)
    printed = json.loads(finetune("rollback", RUN_ID, "--json")[1])
    assert printed == {"endpoint": name, "configuration": "the-earlier-one"}


def test_a_rolled_back_endpoint_serves_the_earlier_configuration(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    name = f"finetune-dev-{RUN_ID}"
    assert is_rolled_back(deployment, name, name)
    with pytest.raises(EndpointFailed):
        is_rolled_back(deployment, name, "another-configuration")


def test_autoscaling_is_set_up_again_after_a_rollback(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    any_endpoint_of(RUN_ID)
    scaling = {"min_instances": 1, "max_instances": 3, "invocations_per_instance": 60}
    plan = any_plan(endpoint=any_plan().endpoint.model_dump() | {"autoscaling": scaling})
    write(RunLayout(RUN_ID).plan, plan.model_dump_json())
    scaled: list[tuple[Any, ...]] = []
    monkeypatch.setattr("finetuning_cli.stage.endpoints.scale", lambda *given: scaled.append(given))
    name = f"finetune-dev-{RUN_ID}"
    assert is_rolled_back(deployment, name, name)
    assert scaled == [(name, plan.endpoint.autoscaling)]


@pytest.mark.parametrize("scaled", [True, False])
def test_ctrl_c_ends_the_waiting_for_a_rollback_and_says_what_the_command_leaves_undone(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch, scaled: bool
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    any_endpoint_of(RUN_ID)
    scaling = {"min_instances": 1, "max_instances": 3, "invocations_per_instance": 60} if scaled else None
    plan = any_plan(endpoint=any_plan().endpoint.model_dump() | {"autoscaling": scaling})
    write(RunLayout(RUN_ID).plan, plan.model_dump_json())
    monkeypatch.setattr("finetuning_cli.stage.endpoints.roll_back", lambda deployment, name: "the-earlier-one")
    monkeypatch.setattr("finetuning_cli.stage.endpoints.is_rolled_back", interrupted)
    assert finetune("rollback", RUN_ID) == (130, "")
    said = " ".join(finetune.stderr.split())
    assert f"finetune-dev-{RUN_ID} is still being switched to the-earlier-one." in said
    assert ("Its autoscaling is off." in said and said.endswith(f"finetune deploy {RUN_ID} --stage dev")) is scaled


def test_an_endpoint_that_served_one_model_only_is_not_rolled_back(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    with pytest.raises(FineTuningError) as caught:
        roll_back(deployment, f"finetune-dev-{RUN_ID}")
    assert caught.value.code == Code.NOTHING_TO_ROLL_BACK_TO
