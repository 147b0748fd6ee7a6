"""Limits, prices and estimates of each instance type a run may train on."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from finetuning.errors import Code
from finetuning.jumpstart.assumptions import Price
from finetuning.jumpstart.family import Task
from finetuning.planning.checklist import Checklist
from finetuning.planning.training_options import (
    Limits,
    Workload,
    trainable_types,
    training_limits,
    training_options,
)
from finetuning.runs.plan import TrainingOption
from finetuning.runs.run_json import MAX_FALLBACKS, RunRequest
from tests.builders.jumpstart import LLAMA, any_spec, any_stage

SPEC = any_spec(LLAMA + "8b")
G5, FASTER = "ml.g5.12xlarge", "ml.p4d.24xlarge"
TEN = Price(10.0, "a list")


def options(
    types: Sequence[str] = (G5,),
    *,
    tokens: int | None = 1_280_000,
    hours: float = 24,
    usd: float | None = None,
    prices: Mapping[str, Price] | None = None,
    chosen: bool = False,
) -> tuple[list[TrainingOption], Checklist]:
    """Two epochs of as many tokens, which take 2900 s on G5: 900 of start-up, and 1280 tokens a second."""
    checklist = Checklist()
    work = Workload(Task.CHAT, {"epoch": 2}, tokens, "counted")
    prices = {G5: TEN} if prices is None else prices
    return training_options(SPEC, types, work, Limits(hours, usd), prices, checklist, chosen=chosen), checklist


def lines(checklist: Checklist, check: str) -> list[str]:
    return [each.message for each in checklist.checks if each.check == check]


def test_an_option_has_its_estimate_its_price_and_its_limit() -> None:
    ((option,), checklist) = options(hours=2)
    assert (option.instance_type, option.estimate.seconds, option.price) == (G5, 2900, TEN)
    assert option.max_runtime_seconds == 7200
    assert option.hyperparameters["epoch"] == "2"
    assert checklist.findings == []
    assumed = "; ".join(option.estimate.assumptions)
    assert lines(checklist, "time and cost") == [
        f"{G5}: about 0.8 h, about 8.06 USD, assuming {assumed}; stopped after 2.0 h"
    ]
    assert lines(checklist, "hyperparameters") == [f"{len(option.hyperparameters)} hyperparameters, 1 set by you"]
    assert lines(checklist, "training instance") == [G5]


def test_without_the_datas_size_the_estimate_is_a_lower_bound_and_without_a_price_it_has_no_cost() -> None:
    _, checklist = options(tokens=None)
    assert lines(checklist, "time and cost")[0].startswith(f"{G5}: at least 0.2 h, at least 2.50 USD, ")
    _, unpriced = options(prices={})
    assert lines(unpriced, "time and cost")[0].startswith(f"{G5}: about 0.8 h, unknown cost, ")
    _, unknown = options(["ml.trn1.2xlarge"], prices={})
    assert lines(unknown, "time and cost")[0].startswith("ml.trn1.2xlarge: unknown time, unknown cost, ")


def test_a_budget_limits_the_time_to_what_it_pays_for() -> None:
    ((option,), _) = options(usd=20)
    assert option.max_runtime_seconds == 7200
    ((longer,), _) = options(usd=2000)
    assert longer.max_runtime_seconds == 24 * 3600


@pytest.mark.parametrize(("usd", "found"), [(8.06, []), (8.05, [Code.OVER_BUDGET])])
def test_an_estimate_may_be_as_high_as_the_budget(usd: float, found: list[Code]) -> None:
    _, checklist = options(usd=usd)
    assert [finding.code for finding in checklist.findings] == found


@pytest.mark.parametrize(("seconds", "found"), [(2900, []), (2899, [Code.OUT_OF_TIME])])
def test_an_estimate_may_be_as_long_as_the_limit(seconds: int, found: list[Code]) -> None:
    _, checklist = options(hours=seconds / 3600)
    assert [finding.code for finding in checklist.findings] == found


def test_what_exceeds_a_limit_is_a_finding_of_the_field_that_sets_it() -> None:
    _, checklist = options([G5], hours=0.5, usd=5)
    over, late = checklist.findings
    assert (over.code, over.field) == (Code.OVER_BUDGET, "training.max_cost_usd")
    assert f"{G5} is estimated to cost 8.06 USD" in over.message
    assert "5.00 USD (about 0.8 h" in over.message
    assert "training.max_cost_usd" in over.fix
    assert (late.code, late.field) == (Code.OUT_OF_TIME, "training.max_runtime_hours")
    assert f"{G5} is estimated to take 0.8 hours" in late.message
    assert "after 0.5 hours" in late.message
    assert "training.max_runtime_hours" in late.fix
    assert {each.check for each in checklist.checks if each.ok is False} == {"time and cost"}
    assert lines(checklist, "time and cost") == [over.message, late.message]


def test_the_types_on_which_the_training_stays_within_the_limits_are_named() -> None:
    types = [G5, FASTER, "ml.g5.48xlarge", "ml.unknown.9xlarge"]
    prices = {G5: TEN, FASTER: Price(20.0, "a list"), "ml.g5.48xlarge": Price(99.0, "a list")}
    _, checklist = options(types, usd=7.5, prices=prices | {"ml.unknown.9xlarge": TEN}, chosen=True)
    first = checklist.findings[0]
    assert (first.code, first.field) == (Code.OVER_BUDGET, "training.max_cost_usd")
    (named,) = re.findall(r"What would fit: (.*)\. Or raise", first.fix)
    assert [each for each in types if each in named] == [FASTER]


@pytest.mark.parametrize(
    ("limits", "code", "fix"),
    [
        ({"usd": 0.5}, Code.OVER_BUDGET, "Raise training.max_cost_usd."),
        ({"usd": 7.9}, Code.OVER_BUDGET, "Or raise training.max_cost_usd."),
        ({"hours": 0.1}, Code.OUT_OF_TIME, "Raise training.max_runtime_hours."),
        ({"hours": 0.8}, Code.OUT_OF_TIME, "Or raise training.max_runtime_hours."),
    ],
)
def test_the_fix_is_what_would_fit_if_anything_does_or_a_higher_limit(
    limits: dict[str, float], code: Code, fix: str
) -> None:
    _, checklist = options(**limits)  # type: ignore[arg-type]
    (finding,) = checklist.findings
    assert finding.code == code
    assert finding.fix == fix or (fix.startswith("Or") and re.fullmatch(rf"What would fit: .*\. {fix}", finding.fix))


@pytest.mark.parametrize(("usd", "epochs"), [(5.277, []), (5.278, ["1"])])
def test_an_epoch_fits_if_the_budget_pays_for_it(usd: float, epochs: list[str]) -> None:
    """Start-up and one epoch take 1900 s, which cost 5.2778 USD."""
    _, checklist = options(usd=usd)
    (finding,) = checklist.findings
    assert re.findall(r'"epoch": (\d)', finding.fix) == epochs


def test_a_budget_without_a_price_is_a_finding() -> None:
    _, checklist = options(usd=5, prices={})
    (finding,) = checklist.findings
    assert (finding.code, finding.field) == (Code.PRICE_UNKNOWN, "training.max_cost_usd")
    assert "5.00 USD" in finding.message
    assert G5 in finding.message
    assert "training.max_cost_usd" in finding.fix


def test_findings_of_a_chosen_fallback_belong_to_the_fallbacks() -> None:
    prices = {FASTER: Price(1.0, "a list"), G5: TEN}
    _, checklist = options([FASTER, G5], hours=0.8, usd=5, prices=prices, chosen=True)
    found = [(finding.code, finding.field) for finding in checklist.findings]
    assert found == [
        (Code.OVER_BUDGET, "training.fallback_instance_types"),
        (Code.OUT_OF_TIME, "training.fallback_instance_types"),
    ]
    _, unpriced = options([FASTER, G5], usd=5, prices={FASTER: Price(1.0, "a list")}, chosen=True)
    assert [(each.code, each.field) for each in unpriced.findings] == [
        (Code.PRICE_UNKNOWN, "training.fallback_instance_types")
    ]


def test_a_default_fallback_that_exceeds_a_limit_is_not_used_and_the_first_reason_is_shown() -> None:
    prices = {FASTER: Price(1.0, "a list"), G5: TEN}
    (option,), checklist = options([FASTER, G5], usd=5, prices=prices)
    assert option.instance_type == FASTER
    assert checklist.findings == []
    (line,) = lines(checklist, "fallbacks")
    assert line.startswith(f"{G5} is not used: Training on {G5} is estimated to cost 8.06 USD")


def test_default_fallbacks_are_the_cheapest_and_those_of_unknown_cost_come_last_by_the_hour() -> None:
    prices = {
        G5: TEN,
        "ml.g5.24xlarge": Price(2.0, "a list"),
        "ml.g5.48xlarge": Price(1.0, "a list"),
        "ml.unknown.9xlarge": Price(0.2, "a list"),
        "ml.unknown.8xlarge": Price(0.1, "a list"),
    }
    types = [FASTER, "ml.unknown.9xlarge", "ml.unpriced.xlarge", "ml.unknown.8xlarge", G5, "ml.g5.24xlarge"]
    found, checklist = options(types, prices=prices | {FASTER: Price(99.0, "a list")})
    expected = [FASTER, "ml.g5.24xlarge", G5, "ml.unknown.8xlarge", "ml.unknown.9xlarge", "ml.unpriced.xlarge"]
    assert [option.instance_type for option in found] == expected[: MAX_FALLBACKS + 1]
    assert lines(checklist, "training instance") == [", then ".join(expected[: MAX_FALLBACKS + 1])]


def test_chosen_fallbacks_keep_their_order_and_number() -> None:
    types = [FASTER, G5, "ml.g5.24xlarge", "ml.g5.48xlarge", "ml.p3dn.24xlarge", "ml.p5.48xlarge"]
    found, _ = options(types, prices={}, chosen=True)
    assert [option.instance_type for option in found] == types


@pytest.mark.parametrize(
    ("asked", "stage", "limits", "found"),
    [
        ({}, {}, (24, None), []),
        ({"max_runtime_hours": 5, "max_cost_usd": 7}, {}, (5, 7), []),
        ({"max_cost_usd": 7}, {"max_cost_usd": 9}, (24, 7), []),
        ({}, {"max_cost_usd": 9}, (24, 9), []),
        ({"max_runtime_hours": 24, "max_cost_usd": 9}, {"max_cost_usd": 9}, (24, 9), []),
        (
            {"max_runtime_hours": 25, "max_cost_usd": 9.5},
            {"max_cost_usd": 9},
            (24, 9),
            [
                (Code.OUT_OF_TIME, "training.max_runtime_hours", "25 hours", "24 hours"),
                (Code.OVER_BUDGET, "training.max_cost_usd", "9.50 USD", "9.00 USD"),
            ],
        ),
    ],
)
def test_the_smaller_limit_holds_and_one_above_the_stages_is_refused(
    asked: dict[str, float],
    stage: dict[str, float],
    limits: tuple[float, float | None],
    found: list[tuple[Code, str, str, str]],
) -> None:
    checklist = Checklist()
    request = RunRequest.model_validate({"training": asked})
    assert training_limits(request, any_stage(max_runtime_hours=24, **stage), checklist) == Limits(*limits)
    assert [(each.code, each.field) for each in checklist.findings] == [entry[:2] for entry in found]
    for finding, (_, _, over, limit) in zip(checklist.findings, found, strict=True):
        assert over in finding.message
        assert limit in finding.message
        assert "stage dev" in finding.message
        assert "stage" in finding.fix
    assert {each.check for each in checklist.checks} <= {"time and cost"}


def test_a_type_that_cannot_be_used_is_refused_as_the_first_and_dropped_as_a_default_fallback() -> None:
    stage, never = any_stage(training_instance_types=("ml.g5.*", "ml.p4d.*")), "ml.p5.48xlarge"
    first = Checklist()
    assert trainable_types([never, G5], SPEC, stage, first, chosen=False) == [G5]
    (finding,) = first.findings
    assert (finding.code, finding.field) == (Code.INSTANCE_TYPE_UNSUPPORTED, "training.instance_type")
    assert {each.check for each in first.checks} == {"training instance"}
    default = Checklist()
    assert trainable_types([G5, never], SPEC, stage, default, chosen=False) == [G5]
    assert default.findings == []
    (dropped,) = lines(default, "fallbacks")
    assert dropped.startswith(f"{never} is not used: {SPEC.model_id}")
    assert dropped.endswith(f"does not support the training instance type {never}.")
    chosen = Checklist()
    assert trainable_types([G5, never], SPEC, stage, chosen, chosen=True) == [G5]
    assert [each.field for each in chosen.findings] == ["training.fallback_instance_types"]
    assert trainable_types([never], SPEC, stage, Checklist(), chosen=True) == [SPEC.default_training_instance_type]


def test_a_type_the_stage_does_not_allow_is_refused_with_those_it_does() -> None:
    checklist = Checklist()
    stage = any_stage(training_instance_types=("ml.p4d.*", "ml.p5.*"))
    trainable_types([G5], SPEC, stage, checklist, chosen=True)
    (finding,) = checklist.findings
    assert "ml.p4d.*, ml.p5.*." in finding.message
    assert "stage dev" in finding.message
    assert "training_instance_types" in finding.fix


@pytest.mark.parametrize(("given", "epochs"), [({}, 5), ({"epoch": 2}, 2), ({"epoch": "+3"}, 3)])
def test_the_estimate_is_of_as_many_epochs_as_are_trained(given: dict[str, object], epochs: int) -> None:
    work = Workload(Task.CHAT, given, 1000, "counted")
    (option,) = training_options(SPEC, [G5], work, Limits(24, None), {}, Checklist(), chosen=False)
    assert option.estimate.epochs == epochs


def test_a_model_without_the_hyperparameter_epoch_is_estimated_for_one() -> None:
    others = tuple(each for each in SPEC.hyperparameters if each.name != "epoch")
    spec = SPEC.model_copy(update={"hyperparameters": others})
    work = Workload(Task.CHAT, {}, 1000, "counted")
    (option,) = training_options(spec, [G5], work, Limits(24, None), {}, Checklist(), chosen=False)
    assert option.estimate.epochs == 1


def test_a_budget_for_less_than_a_second_leaves_a_draft_with_a_limit_that_sagemaker_takes() -> None:
    ((option,), checklist) = options(usd=0.000001)
    assert [finding.code for finding in checklist.findings] == [Code.OVER_BUDGET]
    assert option.max_runtime_seconds == 1


def test_long_times_are_exact_to_a_tenth_of_an_hour() -> None:
    ((option,), within) = options(hours=97.96)
    assert lines(within, "time and cost")[0].endswith("; stopped after 98.0 h")
    tokens = round(1280 * (1000.3 * 3600 - 900) / 2)
    _, beyond = options(tokens=tokens, hours=97.96, usd=5)
    over, late = beyond.findings
    assert "(about 1000.3 h, " in over.message
    assert f"{option.instance_type} is estimated to take 1000.3 hours" in late.message
    assert "stopped after 98.0 hours" in late.message


def test_a_value_that_is_wrong_on_several_types_is_reported_once_and_as_a_hyperparameter() -> None:
    def allow_on_g5(document: dict[str, Any]) -> None:
        variant = document["training_instance_type_variants"]["variants"]["g5"]
        epoch = {"name": "epoch", "type": "int", "default": 5, "max": 9999, "scope": "algorithm"}
        variant.setdefault("properties", {})["hyperparameters"] = [epoch]

    spec, checklist = any_spec(SPEC.model_id, allow_on_g5), Checklist()
    work = Workload(Task.CHAT, {"epoch": 5000, "seed": "x"}, 1, "counted")
    types = [FASTER, G5, "ml.p3dn.24xlarge"]
    found = training_options(spec, types, work, Limits(24, None), {}, checklist, chosen=True)
    assert [option.instance_type for option in found] == types
    assert [(check.check, check.field) for check in checklist.checks if check.ok is False] == [
        ("hyperparameters", "hyperparameters.epoch"),
        ("hyperparameters", "hyperparameters.seed"),
    ]
