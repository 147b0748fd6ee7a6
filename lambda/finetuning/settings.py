"""What a function is told by its deployment. The only reader of the environment.

The field names, upper-cased, are the environment variables; the infrastructure writes them from the same class,
so a setting that one side forgets fails at synthesis or at the first cold start, by name.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from finetuning.errors import Code, FineTuningError

CommaSeparated = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value)
]

Limit = Annotated[float, Field(gt=0)] | Literal["never"]


class Settings(BaseModel):
    """Settings of one deployed stage. Times in hours or minutes, money in USD, sizes in bytes, as the names say."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: str
    prefix: str
    aws_region: str
    upload_bucket: str
    artifacts_bucket: str
    kms_key_arn: str
    execution_role_arn: str
    subnet_ids: CommaSeparated
    security_group_ids: CommaSeparated
    topic_arn: str
    default_model: str
    accept_eula: bool = False
    gated_weights: Literal["env", "channel"] = "env"
    max_runtime_hours: float = Field(gt=0, le=100)
    max_cost_usd: float | None = Field(default=None, gt=0)
    training_instance_types: CommaSeparated
    """Patterns: IAM lets jobs have no other."""
    max_concurrent_runs: int = Field(gt=0)
    approval_hours: float = Field(gt=0)
    endpoint_ttl_hours: Limit
    endpoint_idle_minutes: Limit
    shard_bytes: int = Field(default=1 << 30, gt=0)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads the settings; raises `FineTuningError` that names every missing or malformed variable."""
        values = {name: environment[name.upper()] for name in cls.model_fields if name.upper() in environment}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            wrong = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
            raise FineTuningError(
                Code.INTERNAL_ERROR,
                f"The function's environment is incomplete: {wrong}",
                "Deploy the workflow stack again: the infrastructure writes these variables.",
            ) from error


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings.from_environment(os.environ)
