"""What Bedrock cannot import is refused by facts, before anything is paid."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from finetuning.bedrock.facts import import_facts
from finetuning.bedrock.models import refusals
from finetuning.jumpstart.catalogue import CATALOGUE, support
from finetuning.jumpstart.families.llama3 import LLAMA_3_1
from finetuning.jumpstart.family import PARAMETERS
from tests.builders.jumpstart import LLAMA

MODEL = support(LLAMA + "8b")


@pytest.mark.parametrize("model_id", CATALOGUE)
def test_every_model_but_the_405b_can_be_imported(model_id: str) -> None:
    assert bool(list(refusals(support(model_id), "us-east-1"))) == ("405b" in model_id)


def test_a_405b_is_refused_for_its_weights_and_its_size() -> None:
    model_id = LLAMA + "405b-instruct-fp8"
    found = list(refusals(support(model_id), "us-west-2"))
    assert [(each.code, each.field, each.message) for each in found] == [
        (
            "MODEL_NOT_IMPORTABLE",
            "endpoint.target",
            f"Bedrock cannot import {model_id}: its weights are fp8, not bf16, fp16 or fp32.",
        ),
        (
            "MODEL_NOT_IMPORTABLE",
            "endpoint.target",
            f"Bedrock cannot import {model_id}: the tuned model has about 406 GB; the limit is 200 GB.",
        ),
    ]
    assert {each.fix for each in found} == {"Choose another model, or set endpoint.target to sagemaker."}


def test_another_region_is_refused_with_those_that_bedrock_imports_in() -> None:
    (found,) = refusals(MODEL, "eu-west-1")
    assert (found.code, found.field) == ("REGION_UNSUPPORTED", "endpoint.target")
    assert found.message == (
        "Bedrock does not import models in eu-west-1, only in eu-central-1, us-east-1, us-east-2, us-west-2."
    )
    assert found.fix == "Deploy the stage in one of these regions, or set endpoint.target to sagemaker."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "GemmaForCausalLM"}, "its architecture GemmaForCausalLM is not one of LlamaForCausalLM, "),
        ({"context": 131_073}, "its context has 131,073 tokens; the limit is 131,072."),
    ],
)
def test_a_family_is_refused_for_its_architecture_and_its_context(changes: Mapping[str, Any], reason: str) -> None:
    (found,) = refusals(replace(MODEL, family=replace(LLAMA_3_1, **changes)), "us-east-1")
    assert (found.code, found.field) == ("MODEL_NOT_IMPORTABLE", "endpoint.target")
    assert found.message.startswith(f"Bedrock cannot import {MODEL.model_id}: {reason}")


def test_a_model_of_exactly_the_limit_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMETERS, "8", 100)
    (found,) = refusals(MODEL, "us-east-1")
    assert found.message.endswith("the tuned model has about 200 GB; the limit is 200 GB.")
    monkeypatch.setitem(PARAMETERS, "8", 99.9)
    assert not list(refusals(MODEL, "us-east-1"))


def test_each_fact_says_how_it_is_known() -> None:
    facts = import_facts()
    known = {name: fact.known for name in type(facts).model_fields if hasattr(fact := getattr(facts, name), "known")}
    assert known == {
        "regions": "third-party",
        "architectures": "third-party",
        "dtypes": "third-party",
        "max_gigabytes": "third-party",
        "max_context": "third-party",
        "quota": "third-party",
        "units": "assumed",
        "window_minutes": "verified",
        "usd_per_unit_minute": "third-party",
        "usd_per_unit_month": "third-party",
    }
