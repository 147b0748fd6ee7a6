"""Who is asked: an endpoint by its name, an imported model by its ARN."""

from types import SimpleNamespace
from typing import Any

import pytest

from finetuning.aws import bedrock_runtime, sagemaker_runtime
from finetuning.operations import answers
from finetuning.operations.answers import asker_of, questions_of, stream_answer_of
from tests.builders.memory import any_run

FAMILY: Any = SimpleNamespace(stop_token_ids=(9,), stop_texts=("<end>",))
ARN = "arn:aws:bedrock:us-east-1:123456789012:imported-model/a1b2"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the adapters are called with."""
    calls: list[tuple[Any, ...]] = []
    for adapter in (bedrock_runtime, sagemaker_runtime):
        for name in ("asker", "stream_answer"):
            called = f"{adapter.__name__.rpartition('.')[2]}.{name}"
            monkeypatch.setattr(adapter, name, lambda *given, called=called: calls.append((called, *given)))
    return calls


ENDS = pytest.mark.parametrize(("task", "texts", "tokens"), [("chat", ("<end>",), (9,)), ("instruction", (), ())])
Texts, Tokens = tuple[str, ...], tuple[int, ...]


def test_the_questions_are_those_of_the_runs_task_and_template(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(answers, "questions", lambda *given: asked.append(given) or [])
    run = any_run(task="instruction")
    assert run.plan.template
    run.store.write(run.layout.prompts, b"[]")
    assert questions_of(run) == []
    assert asked == [(b"[]", run.plan.evaluation.prompts, "instruction", run.plan.template, run.plan.family)]


def waits(line: str) -> None:
    raise AssertionError(line)


@ENDS
def test_a_model_is_asked_where_it_is_with_what_ends_an_answer_of_its_task(
    asked: list[tuple[Any, ...]], task: str, texts: Texts, tokens: Tokens
) -> None:
    asker_of(ARN, task, FAMILY, waits, 7)
    asker_of("faq", task, FAMILY, waits, 7)
    assert asked == [
        ("bedrock_runtime.asker", ARN, texts, 7, waits),
        ("sagemaker_runtime.asker", "faq", tokens, 7),
    ]


@ENDS
def test_an_answer_is_streamed_likewise(asked: list[tuple[Any, ...]], task: str, texts: Texts, tokens: Tokens) -> None:
    stream_answer_of(ARN, "Hello", task, FAMILY, print, waits, 7)
    stream_answer_of("faq", "Hello", task, FAMILY, print, waits, 7)
    assert asked == [
        ("bedrock_runtime.stream_answer", ARN, "Hello", print, texts, 7, waits),
        ("sagemaker_runtime.stream_answer", "faq", "Hello", print, tokens, 7),
    ]
