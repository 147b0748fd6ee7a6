"""A pytest plugin for the tests of a mutant: the first failure is enough, so no example is shrunk or kept.

Tests with an emulated account run after the others, those with random examples last: the others notice most mutants in
a hundredth of the time. Tests that try 1,000 seeds try a tenth of them; otherwise they would take most of the time of
all mutants. Near-duplicates are not looked for: rensa's threads end where mutmut forks, and its next call would wait
for them forever.
"""

import pytest
from hypothesis import HealthCheck, Phase, is_hypothesis_test, settings

settings.register_profile(
    "mutants",
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)


SEEDS = 100


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for module in {item.getparent(pytest.Module) for item in items}:
        if module and hasattr(module.obj, "SEEDS"):
            module.obj.SEEDS = SEEDS
    items.sort(key=lambda item: (is_hypothesis_test(getattr(item, "obj", None)), _has_account(item)))


def _has_account(item: pytest.Item) -> bool:
    return not {"aws", "lines"}.isdisjoint(getattr(item, "fixturenames", ()))  # `lines` runs every step of a stage


def pytest_runtestloop() -> None:
    from finetuning.datasets import preparation  # here, where pytest has found the mutants

    preparation.COMPARED_UNASKED = -1  # no upload is so small
