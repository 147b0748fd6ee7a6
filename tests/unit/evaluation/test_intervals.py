"""The interval that decides whether a difference counts, held to simulated comparisons."""

import random
from collections.abc import Callable

import pytest

from finetuning.evaluation.intervals import MIN_PROMPTS, mean_interval, prompts_to_show

Draw = Callable[[random.Random], float]


def rouge(generator: random.Random, gain: float = 0.0) -> float:
    """The difference of two answers' scores that scatter by 0.25 around 0.4, cut to the scale 0 to 1."""
    tuned, base = generator.gauss(0.4 + gain, 0.25), generator.gauss(0.4, 0.25)
    return min(1.0, max(0.0, tuned)) - min(1.0, max(0.0, base))


def label(generator: random.Random) -> float:
    """The difference of two models that are right equally often and agree on seven of ten prompts."""
    return 0.0 if generator.random() < 0.7 else generator.choice([-1.0, 1.0])


def share_called(draw: Draw, prompts: int, comparisons: int = 200) -> float:
    """The share of simulated comparisons whose interval does not contain 0."""
    generator = random.Random(prompts)
    called = 0
    for _ in range(comparisons):
        interval = mean_interval([draw(generator) for _ in range(prompts)])
        assert interval
        called += not interval[0] <= 0 <= interval[1]
    return called / comparisons


@pytest.mark.parametrize("draw", [rouge, label])
@pytest.mark.parametrize("prompts", [MIN_PROMPTS, 20])
def test_a_model_compared_with_itself_seldom_differs(draw: Draw, prompts: int) -> None:
    assert share_called(draw, prompts) <= 0.08


def test_the_interval_of_five_points_excludes_zero_with_as_many_prompts_as_announced() -> None:
    def better(generator: random.Random) -> float:
        return generator.gauss(0.05, 0.2)

    generator = random.Random(1)
    needed = prompts_to_show(0.05, [better(generator) for _ in range(500)])
    assert 110 <= needed <= 145  # ((1.96 + 0.84) × 0.2 ÷ 0.05)² = 125.6
    assert 0.72 <= share_called(better, needed, 100) <= 0.88


def test_too_few_prompts_have_no_interval() -> None:
    assert mean_interval([0.5] * (MIN_PROMPTS - 1)) is None
    assert mean_interval([0.5] * MIN_PROMPTS) == (0.5, 0.5)


def test_the_same_scores_give_the_same_interval() -> None:
    differences = [rouge(random.Random(seed)) for seed in range(30)]
    assert mean_interval(differences) == mean_interval(differences)


def test_answers_that_scatter_more_need_more_prompts() -> None:
    assert prompts_to_show(0.05, [0.1, 0.1, 0.1]) == MIN_PROMPTS
    assert prompts_to_show(0.05, [0.4, -0.4, 0.4]) > prompts_to_show(0.05, [0.1, -0.1, 0.1]) > MIN_PROMPTS
    assert prompts_to_show(0.05, [0.4]) > 1_000
