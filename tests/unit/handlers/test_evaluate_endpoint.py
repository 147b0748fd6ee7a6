"""EvaluateEndpoint: who is asked what, and what the answers mean for the run."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from finetuning.errors import Code, EndpointFailed, FineTuningError
from finetuning.evaluation.results import EvaluationReport
from finetuning.handlers import evaluate_endpoint
from finetuning.operations.run import Run
from finetuning.runs.status import Verdict
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, any_plan

LIVE, BASE, CANDIDATE = (f"{PREFIX}-{RUN_ID}{suffix}" for suffix in ("", "-base", "-candidate"))
REFERENCES = [f"Number {number} is what the pirates of the {number}th ship say" for number in range(24)]


def evaluated(run: Run, variant: str = "live", with_base: bool = True) -> dict[str, Any]:
    result: dict[str, Any] = invoke(evaluate_endpoint, run_id=run.run_id, variant=variant, with_base=with_base)
    return result


def answer(cloud: FakeAws, answers: Callable[[str, int], str]) -> None:
    """Lets endpoints answer: `answers(endpoint, number of the question)`."""

    def invoke_endpoint(EndpointName: str, Body: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's names
        number = int(json.loads(Body)["inputs"].partition("question ")[2].split()[0])
        return {"Body": io.BytesIO(json.dumps({"generated_text": answers(EndpointName, number)}).encode())}

    cloud["sagemaker-runtime"].answers["invoke_endpoint"] = invoke_endpoint


def asked(cloud: FakeAws) -> set[str]:
    return {request["EndpointName"] for request in cloud["sagemaker-runtime"].requests("invoke_endpoint")}


def held_out(memory: MemoryStore, must_beat_base: bool = False) -> Run:
    """A run of which 24 prompts were held out."""
    evaluation = any_plan().evaluation.model_dump() | {"held_out": 24, "prompts": [], "must_beat_base": must_beat_base}
    run = any_run(memory, evaluation=evaluation)
    rows = [
        {
            "prompt": f"question {number} ?",
            "messages": [{"role": "user", "content": f"question {number} ?"}],
            "reference": reference,
        }
        for number, reference in enumerate(REFERENCES)
    ]
    memory.write(run.layout.prompts, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return run


def good_or(endpoint: str) -> Callable[[str, int], str]:
    """Answers like the references; but those of `endpoint` are wrong."""
    return lambda name, number: f"Something else, for the {number}. time" if name == endpoint else REFERENCES[number]


@pytest.mark.parametrize(("variant", "tuned"), [("live", LIVE), ("candidate", CANDIDATE)])
def test_the_tuned_model_is_asked_where_it_stands_and_the_base_model_beside_it(
    cloud: FakeAws, memory: MemoryStore, variant: str, tuned: str
) -> None:
    run = held_out(memory)
    answer(cloud, good_or(BASE))
    evaluated(run, variant)
    assert asked(cloud) == {tuned, BASE}
    report = memory.load(run.layout.evaluation, EvaluationReport)
    assert report.ok
    assert run.status.verdict is Verdict.HELPED
    assert report.summary.answers == 24


def test_without_the_base_model_only_the_tuned_one_is_asked_and_the_report_says_so(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = held_out(memory)
    answer(cloud, good_or(""))
    evaluated(run, with_base=False)
    assert asked(cloud) == {LIVE}
    assert evaluate_endpoint.NO_BASE in memory.load(run.layout.evaluation, EvaluationReport).notes


def test_empty_answers_fail_the_run_and_the_report_is_kept(cloud: FakeAws, memory: MemoryStore) -> None:
    run = held_out(memory)
    answer(cloud, lambda *_: "")
    with pytest.raises(EndpointFailed) as failed:
        evaluated(run)
    assert failed.value.code == Code.ENDPOINT_ANSWERS_BROKEN
    assert memory.load(run.layout.evaluation, EvaluationReport).ok is False
    assert run.status.verdict is Verdict.BROKEN


@pytest.mark.parametrize(("must_beat_base", "passes"), [(True, False), (False, True)])
def test_a_model_that_is_worse_than_the_base_model_goes_on_only_where_it_need_not_beat_it(
    cloud: FakeAws, memory: MemoryStore, must_beat_base: bool, passes: bool
) -> None:
    run = held_out(memory, must_beat_base=must_beat_base)
    answer(cloud, good_or(CANDIDATE))
    if passes:
        assert evaluated(run, "candidate")["message"]
        return
    with pytest.raises(FineTuningError) as refused:
        evaluated(run, "candidate")
    assert refused.value.code == Code.EVALUATION_BELOW_BASE
    assert memory.read(run.layout.evaluation)


def test_a_model_that_beats_the_base_model_goes_on(cloud: FakeAws, memory: MemoryStore) -> None:
    run = held_out(memory, must_beat_base=True)
    answer(cloud, good_or(BASE))
    assert evaluated(run, "candidate")["message"] == run.status.events[-1].message
