"""JudgeBatch: what the judge is asked, what is kept, and what a judge that cannot be asked means."""

import json
from typing import Any

import pytest

from finetuning.errors import Code, TransientAwsError
from finetuning.evaluation import asking
from finetuning.evaluation.asking import JUDGE_QUESTIONS_PER_BATCH, NOT_ASKED, AnswerBatch
from finetuning.evaluation.comparison import Reply
from finetuning.handlers import judge_batch
from finetuning.operations.answers import find_batch
from finetuning.operations.run import Run
from tests.builders.aws import FakeAws, client_error
from tests.builders.evaluations import JUDGE, answered, held_out_run, let_judge, prefers_right, right, said, wrong
from tests.builders.handlers import invoke
from tests.builders.memory import MemoryStore
from tests.builders.runs import RUN_ID

QUESTIONS = 48


@pytest.fixture
def run(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Both models have answered 24 prompts, each in other words."""
    monkeypatch.setattr(asking.time, "sleep", lambda _: None)
    run = held_out_run(memory, JUDGE)
    answered(run, tuned=right, base=wrong)
    return run


def calls(cloud: FakeAws) -> list[dict[str, Any]]:
    return cloud["bedrock-runtime"].requests("converse")


def test_the_judge_is_asked_for_one_word_without_chance(cloud: FakeAws, run: Run) -> None:
    let_judge(cloud, prefers_right)
    result = invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert len(calls(cloud)) == QUESTIONS
    first = calls(cloud)[0]
    assert first["modelId"] == JUDGE
    assert first["inferenceConfig"] == {"maxTokens": 16, "temperature": 0.0}
    assert [message["role"] for message in first["messages"]] == ["user"]
    kept = find_batch(run, "judge", 0).replies
    assert [kept[number].text for number in range(4)] == ["A", "B", "A", "B"]
    assert result["message"] == f"Asking the judge {JUDGE} 48 questions"
    assert run.status.progress == "The judge was asked the questions 1 to 48 of 48"


def test_a_question_that_has_an_answer_is_not_asked_again(cloud: FakeAws, run: Run) -> None:
    let_judge(cloud, prefers_right)
    kept = AnswerBatch(replies={number: Reply("tie", 5) for number in range(QUESTIONS - 1)})
    run.store.save(run.layout.answers("judge", 0), kept)
    invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert len(calls(cloud)) == 1
    assert find_batch(run, "judge", 0).replies[0].text == "tie"


def test_only_pairs_that_differ_are_asked_about_and_an_empty_batch_asks_nothing(cloud: FakeAws, run: Run) -> None:
    let_judge(cloud, prefers_right)
    answered(run, base=lambda number: right(number) if number > 3 else wrong(number))
    for batch in (0, 1):
        invoke(judge_batch, run_id=RUN_ID, batch=batch)
    assert len(calls(cloud)) == 8
    assert run.store.read(run.layout.answers("judge", 1)) is None


def test_an_answer_in_other_words_is_asked_for_once_more_and_kept_as_it_is(cloud: FakeAws, run: Run) -> None:
    let_judge(cloud, lambda first, second: "Answer A is better.")
    invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert len(calls(cloud)) == 2 * QUESTIONS
    assert {reply.text for reply in find_batch(run, "judge", 0).replies.values()} == {"Answer A is better."}


def test_the_reasoning_of_a_judge_is_not_its_answer(cloud: FakeAws, run: Run) -> None:
    answer = said("A")
    answer["output"]["message"]["content"].insert(0, {"reasoningContent": {"reasoningText": {"text": "B?"}}})
    cloud["bedrock-runtime"].answers["converse"] = answer
    invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert {reply.text for reply in find_batch(run, "judge", 0).replies.values()} == {"A"}


@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceUnavailableException", "ModelTimeoutException"])
def test_a_throttled_judge_is_waited_for_by_the_steps_retries_and_keeps_what_was_answered(
    cloud: FakeAws, run: Run, code: str
) -> None:
    def busy(messages: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        if "question 7 ?" in json.dumps(messages):
            raise client_error(code, "Too many requests")
        return said("A")

    cloud["bedrock-runtime"].answers["converse"] = busy
    with pytest.raises(TransientAwsError) as throttled:
        invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert throttled.value.code == Code.AWS_UNAVAILABLE
    known = {number for number, reply in find_batch(run, "judge", 0).replies.items() if reply.error is None}
    assert known == {*range(QUESTIONS)} - {14, 15}
    cloud["bedrock-runtime"].calls.clear()
    let_judge(cloud, prefers_right)
    invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert len(calls(cloud)) == 2


def test_a_judge_that_is_denied_fails_no_step_and_is_not_asked_the_later_batches(
    cloud: FakeAws, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_batch, "JUDGE_QUESTIONS_PER_BATCH", 20)
    cloud["bedrock-runtime"].refuse("converse", "AccessDeniedException", "You don't have access to the model")
    invoke(judge_batch, run_id=RUN_ID, batch=0)
    tried = len(calls(cloud))
    invoke(judge_batch, run_id=RUN_ID, batch=1)
    assert len(calls(cloud)) == tried == 3 * 20
    (denied,) = {reply.error for reply in find_batch(run, "judge", 0).replies.values()}
    assert denied == f"Access denied: cannot ask the judge {JUDGE}: You don't have access to the model"
    assert {reply.error for reply in find_batch(run, "judge", 1).replies.values()} == {NOT_ASKED}


def test_without_the_base_models_answers_there_is_nothing_to_ask(cloud: FakeAws, memory: MemoryStore) -> None:
    run = held_out_run(memory, JUDGE)
    answered(run, tuned=right)
    invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert calls(cloud) == []
    assert run.store.read(run.layout.answers("judge", 0)) is None


def test_a_batch_is_one_document_with_as_many_questions_as_planned(cloud: FakeAws, run: Run) -> None:
    assert QUESTIONS <= JUDGE_QUESTIONS_PER_BATCH
    let_judge(cloud, prefers_right)
    invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert len(find_batch(run, "judge", 0).replies) == QUESTIONS


def test_no_error_of_the_judge_is_an_error_of_the_run(cloud: FakeAws, run: Run) -> None:
    cloud["bedrock-runtime"].refuse("converse", "ValidationException", "temperature is not supported")
    invoke(judge_batch, run_id=RUN_ID, batch=0)
    assert "temperature is not supported" in str(find_batch(run, "judge", 0).replies[0].error)
