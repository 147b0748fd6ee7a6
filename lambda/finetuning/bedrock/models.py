"""Which models Bedrock can import, judged by facts alone."""

from collections.abc import Iterator

from finetuning.bedrock.facts import import_facts
from finetuning.errors import Code, Finding
from finetuning.jumpstart.family import ModelSupport

FIELD = "endpoint.target"
ON_SAGEMAKER = "set endpoint.target to sagemaker"


def refusals(model: ModelSupport, region: str) -> Iterator[Finding]:
    """Why the tuned model cannot be imported in the region; nothing if it can."""
    facts, family = import_facts(), model.family
    if region not in facts.regions.value:
        regions = ", ".join(facts.regions.value)
        yield Finding(
            Code.REGION_UNSUPPORTED,
            FIELD,
            f"Bedrock does not import models in {region}, only in {regions}.",
            f"Deploy the stage in one of these regions, or {ON_SAGEMAKER}.",
        )
    *dtypes, last = facts.dtypes.value
    reasons = []
    if family.architecture not in facts.architectures.value:
        reasons.append(f"its architecture {family.architecture} is not one of {', '.join(facts.architectures.value)}")
    if model.dtype not in facts.dtypes.value:
        reasons.append(f"its weights are {model.dtype}, not {', '.join(dtypes)} or {last}")
    if model.gigabytes >= facts.max_gigabytes.value:
        limit = facts.max_gigabytes.value
        reasons.append(f"the tuned model has about {model.gigabytes:,.0f} GB; the limit is {limit:g} GB")
    if family.context > facts.max_context.value:
        reasons.append(f"its context has {family.context:,} tokens; the limit is {facts.max_context.value:,}")
    for reason in reasons:
        yield Finding(
            Code.MODEL_NOT_IMPORTABLE,
            FIELD,
            f"Bedrock cannot import {model.model_id}: {reason}.",
            f"Choose another model, or {ON_SAGEMAKER}.",
        )
