"""What may change when the model of a run is deployed again: `redeploy` in the input of an execution."""

from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from finetuning.errors import Code, Finding, RunRefused
from finetuning.lazy_model import LazyModel
from finetuning.runs.run_json import InstanceType
from finetuning.settings import TtlHours


class RedeployTerms(LazyModel):
    """None: as planned before."""

    model_config = ConfigDict(extra="forbid")

    ttl_hours: TtlHours | None = None
    instance_type: InstanceType | None = None
    target: Literal["sagemaker", "bedrock"] | None = None


def read_terms(redeploy: Any) -> dict[str, Any]:
    """The terms that are set. Raises `RunRefused` for anything else: anyone who may start executions chooses their
    input.
    """
    try:
        return RedeployTerms.model_validate(redeploy).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{first['loc'][0]}: {first['msg']}" if first["loc"] else "they must be an object"
        message = f"These terms of a deployment cannot be used: {reason}."
        raise RunRefused(
            [Finding(Code.RUN_JSON_INVALID, "redeploy", message, "`finetune deploy --help` lists what may be set.")]
        ) from error
