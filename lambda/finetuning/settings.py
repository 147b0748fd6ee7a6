"""The settings of a stage: those fixed at synthesis and those a deployed function reads. The only reader of os.environ.

`StageSettings` holds every field, default and limit that both sides share. The infrastructure writes the environment
variables from the fields of `Settings`, upper-cased, so a setting that one side lacks fails at synthesis or at the
first cold start, by name.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from finetuning.errors import Code, FineTuningError

AS_LIST = BeforeValidator(
    lambda value: [each for each in value.split(",") if each] if isinstance(value, str) else value
)
CommaSeparated = Annotated[tuple[str, ...], AS_LIST]

LONGEST_RUNTIME_HOURS = 100
"""The longest training job whose polls fit the history of one execution (see the state machine's WaitForTraining)."""

LONGEST_APPROVAL_HOURS = 72
"""With it, a run that also waited for everything else still ends before its execution is timed out."""

SWEEP_MINUTES = 15
"""How often the sweeper runs."""

LONGEST_IDLE_MINUTES = 43_200
"""Thirty days: as far back as CloudWatch is asked for invocations."""

NEVER: Literal["never"] = "never"
Limit = float | Literal["never"]
"""Hours or minutes after which an endpoint is deleted, or never."""
LONGEST_TTL_HOURS = 87_600
"""Ten years: a longer one is meant to be `never`."""
TtlHours = Annotated[float, Field(gt=0, le=LONGEST_TTL_HOURS)] | Literal["never"]
IdleMinutes = Annotated[float, Field(ge=SWEEP_MINUTES, le=LONGEST_IDLE_MINUTES)] | Literal["never"]


Replacement = Literal["owner", "anyone"]


INTERFACE_ENDPOINTS: Mapping[str, str] = {
    "SageMakerApi": "sagemaker.api",
    "SageMakerRuntime": "sagemaker.runtime",
    "Logs": "logs",
    "Monitoring": "monitoring",
    "Kms": "kms",
    "Sns": "sns",
    "StepFunctions": "states",
    "ApplicationAutoScaling": "application-autoscaling",
    "ServiceQuotas": "servicequotas",
}
"""The services that functions call in a stage with interface endpoints: the endpoint's id, and the last part of the
service's name. The Price List API has endpoints in three regions only and is left out: PlanRun then estimates with the
prices in its package."""
BEDROCK_ENDPOINTS: Mapping[str, str] = {"Bedrock": "bedrock", "BedrockRuntime": "bedrock-runtime"}
"""The same for a stage that imports models into Bedrock, or lets its models judge."""

JUDGE_ID = r"^[a-z0-9-]+(\.[a-z0-9-]+)+(:[a-z0-9-]+)*$"
"""Of a model in Bedrock, `amazon.nova-pro-v1:0`, or of one of AWS's inference profiles, `us.amazon.nova-pro-v1:0`."""

DEFAULT_MODEL = "meta-textgeneration-llama-3-1-8b-instruct"


STAGE_NAME = r"^[a-z][a-z0-9]{1,7}$"

StageElsewhere = Annotated[
    str, Field(pattern=r"^\d{12}/" + STAGE_NAME.removeprefix("^"), examples=["111122223333/prod"])
]
"""A stage of another account in the same region: `<account>/<stage>`."""


def stage_prefix(stage: str) -> str:
    return f"finetune-{stage}"


def promotion_role(stage: str, region: str) -> str:
    """The name of the one role that copies models of another account. No other role's name is chosen: policies of the
    other account contain this one, and are deployed before the role exists.
    """
    return f"{stage_prefix(stage)}-promotion-{region}"


class StageSettings(BaseModel):
    """What is settled for every run of a stage: defaults of run.json, and limits that no run.json can raise.

    Money in USD; times in hours or minutes and sizes in bytes, as the names say.
    """

    model_config = ConfigDict(frozen=True)

    stage: str = Field(pattern=STAGE_NAME)
    """Part of every name: `finetune-<stage>`. Short, because a run's names must fit SageMaker's 63 characters."""
    default_model: str = DEFAULT_MODEL
    accept_eula: bool = False
    """Accepts Meta's licence for every run of the stage; otherwise each run.json must accept it."""
    training: bool = True
    """Whether runs may train. Otherwise the stage only deploys, and its roles have no permission to start a job."""
    promote_to: Annotated[tuple[StageElsewhere, ...], AS_LIST] = ()
    """Stages of other accounts that may copy the models which are approved in this stage's registry."""
    promote_from: StageElsewhere | None = None
    """The stage of another account whose approved models this one may copy and deploy."""
    promote_from_bucket: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.-]{2,62}$")
    """Its artifacts bucket."""
    promote_from_key: str | None = Field(default=None, pattern=r"^arn:aws:kms:[a-z0-9-]+:\d{12}:key/[\w-]+$")
    """ARN of the key that encrypts the bucket."""
    gated_weights: Literal["env", "channel"] = "env"
    """How a training job is given the licensed weights (unverified which of the two the platform prefers)."""
    max_runtime_hours: float = Field(default=24, gt=0, le=LONGEST_RUNTIME_HOURS)
    max_cost_usd: float | None = Field(default=None, gt=0)
    endpoint_ttl_hours: TtlHours
    """Hours after which an endpoint is deleted, or `never`. It has no default: an endpoint costs money every hour."""
    endpoint_idle_minutes: IdleMinutes
    """Minutes without requests after which an endpoint is deleted, or `never`."""
    endpoint_instance_pools: bool = False
    """Whether an endpoint's request names its fallback types as instance pools, of which SageMaker takes the first with
    capacity. Otherwise each type is tried by an endpoint of its own, after the one before it has failed.
    """
    endpoint_replacement: Replacement = "anyone"
    """Whose runs may replace an endpoint's model: those of its owners (`runs/ownership.py`), or any run's."""
    bedrock_import: bool = False
    """Whether runs may import their models into Bedrock (`endpoint.target`): the stage then has the role and the
    permissions for it.
    """
    judge_models: CommaSeparated = ()
    """Models in Bedrock, by the ids of models or of inference profiles, that runs may let judge the answers
    (`evaluation.judge`): the stage then has the permissions for them. None: no run may.
    """
    max_concurrent_runs: int = Field(default=5, ge=1, le=100)
    """How many runs train, deploy or wait for approval at the same time; later ones are queued."""
    approval_hours: float = Field(default=24, gt=0, le=LONGEST_APPROVAL_HOURS)
    """How long a run waits for the approval it asks for. Then it fails, and the tuned model is kept."""
    signed_report_links: bool = True
    """Whether messages have a link that opens the report page without a login, for anyone who has the link."""
    docs_url: str | None = Field(default=None, pattern=r"^https://[^\s\"'<>]+[^/\s\"'<>]$")
    """Address of the folder with this project's documents: report pages link the runbook's entries there."""
    shard_bytes: int = Field(default=256 << 20, ge=1 << 20)
    """What one function reads at most: it has 15 minutes."""
    training_instance_types: CommaSeparated = (
        "ml.g4dn.*",
        "ml.g5.*",
        "ml.g6.*",
        "ml.g6e.*",
        "ml.p3dn.*",
        "ml.p4d.*",
        "ml.p4de.*",
        "ml.p5.*",
        "ml.p5e.*",
        "ml.p5en.*",
    )
    """Patterns; IAM allows jobs on no other type."""

    @model_validator(mode="after")
    def _must_say_where_models_come_from(self) -> Self:
        """All of `promote_from`, or none."""
        names = [name for name in type(self).model_fields if name.startswith("promote_from")]
        if missing := [name for name in names if getattr(self, name) is None]:
            if len(missing) < len(names):
                raise ValueError(f"{', '.join(names)} are set together, and {' and '.join(missing)} is missing")
        elif self.promote_from_account not in str(self.promote_from_key):
            raise ValueError(f"promote_from_key is no key of the account {self.promote_from_account}")
        return self

    @property
    def prefix(self) -> str:
        """First part of every name in the account, and of every permission on such a name."""
        return stage_prefix(self.stage)

    @property
    def promote_from_account(self) -> str:
        """ "" without `promote_from`."""
        return (self.promote_from or "").partition("/")[0]

    @property
    def promote_from_prefix(self) -> str:
        """The prefix of the stage that trains; "" without `promote_from`."""
        return stage_prefix(self.promote_from.partition("/")[2]) if self.promote_from else ""

    def promotion_roles(self, region: str) -> list[str]:
        """The ARNs of the roles in other accounts that may copy models of this stage."""
        there = [each.split("/") for each in self.promote_to]
        return [f"arn:aws:iam::{account}:role/{promotion_role(stage, region)}" for account, stage in there]


class DeployedStage(StageSettings):
    """A stage in the region that its runs are planned for."""

    aws_region: str


class Settings(DeployedStage):
    """What the deployment passes to a function: the stage's settings and the resources it uses."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    upload_bucket: str
    artifacts_bucket: str
    kms_key_arn: str
    execution_role_arn: str
    import_role_arn: str = ""
    """The role with which Bedrock reads a model that it imports; empty in a stage that may not import any."""
    subnet_ids: CommaSeparated
    security_group_ids: CommaSeparated
    topic_arn: str
    aws_lambda_function_memory_size: int = 128
    """MiB. Lambda sets it."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads the settings; raises `FineTuningError` that names every missing or malformed variable."""
        values = {name: environment[name.upper()] for name in cls.model_fields if name.upper() in environment}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            wrong = "; ".join(f"{''.join(map(str, e['loc'][:1])).upper()}: {e['msg']}" for e in error.errors())
            raise FineTuningError(
                Code.INTERNAL_ERROR,
                f"The function's environment is incomplete: {wrong}",
                "Deploy the workflow stack again: the infrastructure writes these variables.",
            ) from error


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings.from_environment(os.environ)
