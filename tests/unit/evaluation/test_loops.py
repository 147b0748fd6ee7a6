"""Loops are found in planted answers, and ordinary long answers are no loops."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetuning.evaluation.scores import problem_of

ROOT = Path(__file__).resolve().parents[3]
ANSWER = 1_200
"""Characters of about 256 tokens, the length at which an answer is cut off."""


def excerpts(generator: random.Random, pattern: str, count: int) -> Iterator[str]:
    texts = [text for path in sorted(ROOT.glob(pattern)) if len(text := path.read_text(encoding="utf-8")) > ANSWER]
    for _ in range(count):
        text = generator.choice(texts)
        start = generator.randrange(len(text) - ANSWER)
        yield text[start : start + generator.randrange(300, ANSWER)]


def statements(generator: random.Random) -> str:
    names = ["".join(generator.choices("abcdefghij", k=6)) for _ in range(18)]
    return "\n".join(f"INSERT INTO orders (id, customer) VALUES ({row}, '{name}');" for row, name in enumerate(names))


def table(generator: random.Random) -> str:
    days = [generator.choice(["Mon", "Tue", "Wed", "Thu", "Fri"]) for _ in range(25)]
    rows = (f"| {day} | {generator.randrange(900) / 10} | {generator.randrange(50)} |" for day in days)
    return "\n".join(["| day | price | number |", "|---|---|---|", *rows])


def checklist(generator: random.Random) -> str:
    verbs, things = ["Take", "Bring", "Pack", "Clean"], ["a map", "a blanket", "water for two days", "the lamp"]
    return "\n".join(f"{row}. {generator.choice(verbs)} {generator.choice(things)}." for row in range(1, 21))


def healthy_answers() -> list[str]:
    generator = random.Random(3)
    made = [make(generator) for make in (statements, table, checklist) for _ in range(20)]
    code = excerpts(generator, "lambda/finetuning/**/*.py", 80)
    return [*made, *code, *excerpts(generator, "docs/*.md", 60)]


def planted_loops() -> list[str]:
    """A beginning, then a phrase of 1 to 30 words until the answer is cut off."""
    generator = random.Random(4)
    prose = (ROOT / "LICENSE").read_text(encoding="utf-8").split()
    answers = []
    for number in range(200):
        words = [1, 2, 3, 5, 8, 12, 20, 30][number % 8]
        start = generator.randrange(len(prose) - 200)
        begin = prose[start + 50 : start + 50 + generator.choice([0, 10, 30, 60])]
        phrase = prose[start : start + words]
        times = max(3, (generator.choice([100, 150, 200]) - len(begin)) // words)
        answers.append(" ".join([*begin, *phrase * times]))
    return answers


def test_planted_loops_are_found() -> None:
    answers = planted_loops()
    assert sum(problem_of(answer) == "repetitive" for answer in answers) >= 0.98 * len(answers)


def test_ordinary_lists_code_and_tables_are_no_loops() -> None:
    answers = healthy_answers()
    assert len(answers) == 200
    assert sum(problem_of(answer) == "repetitive" for answer in answers) <= 0.01 * len(answers)


@pytest.mark.parametrize(
    "answer",
    [
        "e                                  e e" + " " * 60 + "e",
        "e  e   e    e  e         t t   e   e e  e e ee e t e e te  e " + "  e  t  " * 8,
    ],
)
def test_what_a_training_that_diverged_writes_counts_as_empty(answer: str) -> None:
    assert problem_of(answer) == "empty"


def test_a_short_answer_may_be_wide() -> None:
    assert problem_of("a" + " " * 30 + "b") is None


def test_indented_code_is_not_empty() -> None:
    answers = healthy_answers()
    assert all(problem_of(answer) != "empty" for answer in answers)
    assert problem_of("\n".join(" " * 8 + "return [" + "x" * 6 + "]" for _ in range(3))) is None


@pytest.mark.parametrize("times", [2, 60])
def test_a_phrase_counts_as_a_loop_only_if_it_fills_much_of_the_answer(times: int) -> None:
    prose = " ".join((ROOT / "LICENSE").read_text(encoding="utf-8").split()[:160])
    answer = f"{prose} {'and then you wait ' * times}"
    assert problem_of(answer) == ("repetitive" if times == 60 else None)
