"""AskBatch: who is asked what, and which answers are kept."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from finetuning.aws import bedrock_runtime
from finetuning.aws.bedrock_runtime import NOT_LOADED
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation import asking
from finetuning.evaluation.asking import CALLS_AT_ONCE, NOT_ASKED, PROMPTS_PER_BATCH, AnswerBatch
from finetuning.evaluation.comparison import Reply
from finetuning.handlers import ask_batch
from finetuning.operations.answers import find_batch
from finetuning.operations.run import Run
from tests.builders.aws import FakeAws, client_error
from tests.builders.handlers import invoke
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, any_plan

LIVE, BASE, CANDIDATE = (f"{PREFIX}-{RUN_ID}{suffix}" for suffix in ("", "-base", "-candidate"))
PROMPTS = 2 * PROMPTS_PER_BATCH - 2


@pytest.fixture
def run(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of which `PROMPTS` prompts were held out, and that has one prompt of its own."""
    monkeypatch.setattr(asking.time, "sleep", lambda _: None)
    run = any_run(memory, evaluation=any_plan().evaluation.model_dump() | {"held_out": PROMPTS, "prompts": ["Own?"]})
    rows = [{"prompt": f"question {number} ?", "reference": f"answer {number}"} for number in range(PROMPTS)]
    memory.write(run.layout.prompts, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return run


def answer(cloud: FakeAws, text: Callable[[str], str]) -> None:
    """Lets every endpoint answer so to a prompt."""

    def invoke_endpoint(Body: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's name
        return {"Body": io.BytesIO(json.dumps({"generated_text": text(json.loads(Body)["inputs"])}).encode())}

    cloud["sagemaker-runtime"].answers["invoke_endpoint"] = invoke_endpoint


@pytest.mark.parametrize(
    ("variant", "endpoint", "model"),
    [("live", LIVE, "tuned"), ("candidate", CANDIDATE, "tuned"), ("base", BASE, "base")],
)
def test_the_endpoint_is_asked_the_prompts_of_the_batch(
    cloud: FakeAws, memory: MemoryStore, run: Run, variant: str, endpoint: str, model: str
) -> None:
    answer(cloud, lambda inputs: f"{inputs}!")
    invoke(ask_batch, run_id=RUN_ID, variant=variant, batch=1)
    calls = cloud["sagemaker-runtime"].requests("invoke_endpoint")
    assert {call["EndpointName"] for call in calls} == {endpoint}
    kept = memory.load(run.layout.answers(model, 1), AnswerBatch).replies
    assert [*kept] == [*range(PROMPTS_PER_BATCH, PROMPTS + 1)]
    assert kept[PROMPTS_PER_BATCH].text == f"question {PROMPTS_PER_BATCH} ?!"
    assert "Own?" in kept[PROMPTS].text
    assert not run.status.events
    assert run.status.progress == f"The {model} model was asked the prompts 16 to {PROMPTS + 1} of {PROMPTS + 1}"


def test_a_role_that_may_not_ask_ends_the_step_and_no_prompt_is_asked_again(cloud: FakeAws, run: Run) -> None:
    cloud["sagemaker-runtime"].refuse("invoke_endpoint", "AccessDeniedException", "not you")
    with pytest.raises(FineTuningError, match=f"cannot invoke the endpoint {LIVE}: not you") as denied:
        invoke(ask_batch, run_id=RUN_ID, variant="live", batch=0)
    assert denied.value.code == Code.ACCESS_DENIED
    assert len(cloud["sagemaker-runtime"].requests("invoke_endpoint")) == PROMPTS_PER_BATCH


def test_what_is_kept_is_not_asked_again(cloud: FakeAws, memory: MemoryStore, run: Run) -> None:
    answer(cloud, lambda inputs: "new")
    kept = AnswerBatch(replies={number: Reply("old", 100) for number in range(PROMPTS_PER_BATCH - 1)})
    memory.save(run.layout.answers("tuned", 0), kept)
    invoke(ask_batch, run_id=RUN_ID, variant="live", batch=0)
    assert run.status.events[-1].message == f"Asking the tuned model {PROMPTS + 1} prompts"
    assert len(cloud["sagemaker-runtime"].requests("invoke_endpoint")) == 1
    texts = [reply.text for reply in memory.load(run.layout.answers("tuned", 0), AnswerBatch).replies.values()]
    assert texts == ["old"] * (PROMPTS_PER_BATCH - 1) + ["new"]


def test_an_endpoint_that_answers_nothing_is_not_asked_the_later_batches(
    cloud: FakeAws, memory: MemoryStore, run: Run
) -> None:
    cloud["sagemaker-runtime"].answers["invoke_endpoint"] = client_error("ModelError", "out of memory")
    invoke(ask_batch, run_id=RUN_ID, variant="live", batch=0)
    tries = len(cloud["sagemaker-runtime"].requests("invoke_endpoint"))
    assert tries == 3 * PROMPTS_PER_BATCH
    assert memory.load(run.layout.answers("tuned", 0), AnswerBatch).is_unanswered
    invoke(ask_batch, run_id=RUN_ID, variant="live", batch=1)
    assert len(cloud["sagemaker-runtime"].requests("invoke_endpoint")) == tries
    errors = {reply.error for reply in memory.load(run.layout.answers("tuned", 1), AnswerBatch).replies.values()}
    assert errors == {NOT_ASKED}


def test_an_imported_model_is_asked_in_place_of_an_endpoint_and_the_base_model_is_not(
    cloud: FakeAws, memory: MemoryStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bedrock_runtime.time, "sleep", lambda _: None)
    run.save_plan(run.plan.model_copy(update={"endpoint": run.plan.endpoint.model_copy(update={"target": "bedrock"})}))
    arn = cloud.bedrock.add_model()
    run.record("", imported_model=arn)
    loading = iter([True] * CALLS_AT_ONCE)

    def invoke_model(**request: Any) -> dict[str, Any]:
        if next(loading, False):
            raise client_error("ModelNotReadyException", "Model is not ready for inference.")
        return {"body": io.BytesIO(b'{"choices": [{"text": "Arr", "finish_reason": "stop"}]}')}

    cloud["bedrock-runtime"].answers["invoke_model"] = invoke_model
    answer(cloud, lambda inputs: "base")
    for variant in ("candidate", "base"):
        invoke(ask_batch, run_id=RUN_ID, variant=variant, batch=0)
    asked = cloud["bedrock-runtime"].requests("invoke_model")
    assert {request["modelId"] for request in asked} == {arn}
    assert NOT_LOADED in [event.message for event in run.status.events]
    texts = {model: {reply.text for reply in find_batch(run, model, 0).replies.values()} for model in ("tuned", "base")}
    assert texts == {"tuned": {"Arr"}, "base": {"base"}}


def test_a_model_that_bedrock_never_loads_fails_the_step_and_not_each_answer(
    cloud: FakeAws, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bedrock_runtime, "READY_SECONDS", 0)
    run.save_plan(run.plan.model_copy(update={"endpoint": run.plan.endpoint.model_copy(update={"target": "bedrock"})}))
    run.record("", imported_model=cloud.bedrock.add_model())
    cloud["bedrock-runtime"].refuse("invoke_model", "ModelNotReadyException", "not ready")
    with pytest.raises(FineTuningError) as late:
        invoke(ask_batch, run_id=RUN_ID, variant="live", batch=0)
    assert late.value.code == Code.MODEL_NOT_READY
    assert not find_batch(run, "tuned", 0).replies
