"""Every metric is measured by the handlers that `ProductMetric` names, and documented as it is."""

import re
from pathlib import Path

import pytest

from finetuning.metrics import CODE, NAMESPACE, SERVICE, STEP, ProductMetric

ROOT = Path(__file__).resolve().parents[2]
HANDLERS = ROOT / "lambda" / "finetuning" / "handlers"
MONITORING = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("**Metrics.**")[2]


def measured_in(module: Path) -> set[str]:
    """The metrics that a handler's source names; those that fail count a run by `measure_failure`."""
    source = module.read_text(encoding="utf-8")
    names = set(re.findall(r"ProductMetric\.([A-Z_]+)", source))
    if module.stem == "step":
        return names - {"RUN_FAILED"}
    return names | ({"RUN_FAILED"} if "measure_failure(" in source else set())


def test_each_metric_is_measured_by_the_handlers_it_names_and_no_other() -> None:
    measured: dict[str, set[str]] = {}
    for module in HANDLERS.glob("*.py"):
        for name in measured_in(module):
            measured.setdefault(name, set()).add(module.stem)
    assert measured == {metric.name: set(metric.handlers) or {"step"} for metric in ProductMetric}


@pytest.mark.parametrize("metric", ProductMetric)
def test_each_metric_is_documented_with_the_states_that_measure_it(metric: ProductMetric) -> None:
    rows = [row.split(" | ") for row in re.findall(r"^\| (.*) \|$", MONITORING, re.MULTILINE)]
    (states,) = [row[1] for row in rows if metric in row[0].split(", ")]
    for handler in metric.handlers or ("each step",):
        assert (handler.title().replace("_", "") if handler in metric.handlers else handler) in states


def test_the_documentation_names_the_namespace_and_the_dimensions() -> None:
    assert {f"`{name}`" for name in (NAMESPACE, SERVICE, STEP, CODE)} <= set(re.findall(r"`\w+`", MONITORING))


def test_the_documentation_names_no_metric_that_is_not_measured() -> None:
    table = MONITORING.partition("\n\n| ")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in row.strip("| ").split(" | ")[0].split(", ")}
    assert named == {str(metric) for metric in ProductMetric}
