"""What a stage is: its settings, checked when the app is synthesised.

`dev` goes with its stacks and has no price by the hour while idle; `prod` keeps its data and never leaves the private
network.
Every field can be overridden for one synthesis: `-c max_cost_usd=50`.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from aws_cdk.aws_logs import RetentionDays
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from finetuning.runs.expiry import IdleMinutes, PositiveLimit
from finetuning.settings import CommaSeparated

LONGEST_RUNTIME_HOURS = 100
"""The longest training job whose polls fit the history of one execution (see the state machine's WaitForTraining)."""


LONGEST_APPROVAL_HOURS = 72
"""So that a run that waited for everything else, too, ends before its execution is timed out."""


class ConfigurationError(ValueError):
    """The stage or one of its settings is wrong; the message names the field."""


class StageConfig(BaseModel):
    """Settings of one stage. Money in USD; times and sizes in the unit the name says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str = Field(pattern=r"^[a-z][a-z0-9]{1,7}$")
    """Part of every name: `finetune-<stage>`. Short, for a run's names must fit SageMaker's 63 characters."""

    # Where dev and prod differ.
    keep_data: bool
    """Whether buckets, key and logs outlive their stacks. Without, they are emptied and go."""
    termination_protection: bool
    control_functions_in_vpc: bool
    """Whether functions that only call AWS's APIs run in the VPC too. They need the interface endpoints there."""
    interface_endpoints: bool
    """Private addresses of the AWS APIs in the VPC; about 8 USD a month each in every zone."""
    reserve_concurrency: bool
    """Whether every function has a share of the account's Lambda concurrency, 500 in all at most: neither can it starve
    other software there, nor be starved. A new account has too little to share.
    """
    log_retention_days: int
    max_concurrent_runs: int = Field(ge=1, le=100)
    """How many runs train, deploy or wait for approval at the same time; later ones wait for their turn."""

    # What a run gets when its run.json says nothing.
    default_model: str = "meta-textgeneration-llama-3-1-8b-instruct"
    accept_eula: bool = False
    """Accepts Meta's licence for every run of the stage; else each run.json has to."""
    gated_weights: Literal["env", "channel"] = "env"
    """How a training job is given the licensed weights (unverified which of the two the platform prefers)."""
    max_runtime_hours: float = Field(default=24, gt=0, le=LONGEST_RUNTIME_HOURS)
    max_cost_usd: float | None = Field(default=None, gt=0)
    endpoint_ttl_hours: PositiveLimit
    """Hours after which an endpoint goes, or `never`: said for each stage, for one costs money every hour."""
    endpoint_idle_minutes: IdleMinutes
    """Minutes without a question after which an endpoint goes, or `never`."""
    approval_hours: float = Field(default=24, gt=0, le=LONGEST_APPROVAL_HOURS)
    """How long a run that asks for approval waits for it; then it fails, and the tuned model stays."""
    shard_bytes: int = Field(default=256 << 20, ge=1 << 20)
    """What one function reads at most: its 15 minutes have to do."""

    # What a run may ask for at most; held by IAM, not by the code.
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
    endpoint_instance_types: CommaSeparated = (
        "ml.g4dn.*",
        "ml.g5.*",
        "ml.g6.*",
        "ml.g6e.*",
        "ml.p4d.*",
        "ml.p4de.*",
        "ml.p5.*",
        "ml.p5e.*",
        "ml.p5en.*",
    )

    monthly_budget_usd: float | None = Field(default=None, gt=0)
    """What the stage may cost in a month before the team is told; None: no budget is kept. It counts by the tag
    `finetune:stage`, which the account that pays has to activate as a cost allocation tag.
    """
    data_readers: CommaSeparated = ()
    """Who may read data besides the stage's own roles: ARNs of roles or users, `*` for any part. The key refuses
    everyone else; without, IAM alone decides. Whoever uploads large files in parts is among them: S3 decrypts to join.
    """
    notification_email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    availability_zones: CommaSeparated = ()
    """Names of the zones of the network, two or more, such as `us-east-1a`; without, the first two by name. SageMaker
    finds instances in these alone, and large GPUs are in few zones. Said before the first deployment: a subnet that
    is there cannot move, nor be replaced by one with its addresses.
    """
    vpc_cidr: str = Field(default="10.64.0.0/20", pattern=r"^\d+\.\d+\.\d+\.\d+/(1[6-9]|2[0-4])$")

    @property
    def prefix(self) -> str:
        """First part of every name in the account, and of every permission on such a name."""
        return f"finetune-{self.stage}"

    @property
    def has_budget(self) -> bool:
        return self.monthly_budget_usd is not None

    @property
    def log_retention(self) -> RetentionDays:
        return RETENTION[self.log_retention_days]

    @field_validator("data_readers")
    @classmethod
    def _are_arns_of_principals(cls, readers: tuple[str, ...]) -> tuple[str, ...]:
        for reader in readers:
            if not re.fullmatch(r"arn:aws:iam::\d{12}:(role|user)/[\w+=,.@/*-]+", reader):
                raise ValueError(f"{reader!r} is no ARN of a role or user, like arn:aws:iam::123456789012:role/Team*")
        return readers

    @field_validator("availability_zones")
    @classmethod
    def _are_zones_of_one_region(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        for zone in zones:
            if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d[a-z]", zone):
                raise ValueError(f"{zone!r} is no name of an availability zone, like us-east-1a")
        if zones and (len(set(zones)) < max(2, len(zones)) or len({zone[:-1] for zone in zones}) > 1):
            raise ValueError("name two or more different zones of one region")
        return zones

    @field_validator("log_retention_days")
    @classmethod
    def _is_a_retention_cloudwatch_knows(cls, days: int) -> int:
        if days not in RETENTION:
            raise ValueError(f"CloudWatch keeps logs for one of {sorted(RETENTION)} days")
        return days

    @classmethod
    def of(cls, stage: str, overrides: Mapping[str, Any]) -> Self:
        """The stage's settings with the overrides over them; raises `ConfigurationError`."""
        if stage not in STAGES:
            raise ConfigurationError(f"stage: there is no stage {stage!r}; use one of {', '.join(STAGES)}")
        try:
            return cls(**{"stage": stage, **STAGES[stage], **overrides})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigurationError(f"Stage {stage}: {wrong}") from error

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Self:
        """The stage CDK's context asks for. Every plain lower-case key is an override: a misspelt one is refused."""
        overrides = {key: value for key, value in context.items() if key.replace("_", "").isalpha() and key.islower()}
        return cls.of(str(overrides.pop("stage", "")), overrides)


STAGES: Mapping[str, Mapping[str, Any]] = {
    "dev": {
        "keep_data": False,
        "termination_protection": False,
        "control_functions_in_vpc": False,
        "interface_endpoints": False,
        "reserve_concurrency": False,
        "log_retention_days": 14,
        "max_concurrent_runs": 5,
        "endpoint_ttl_hours": 8,
        "endpoint_idle_minutes": 60,
    },
    "prod": {
        "keep_data": True,
        "termination_protection": True,
        "control_functions_in_vpc": True,
        "interface_endpoints": True,
        "reserve_concurrency": True,
        "log_retention_days": 365,
        "max_concurrent_runs": 10,
        # Software asks these: an endpoint that goes by itself is an outage. Each run.json may say otherwise.
        "endpoint_ttl_hours": "never",
        "endpoint_idle_minutes": "never",
    },
}

RETENTION = {
    14: RetentionDays.TWO_WEEKS,
    30: RetentionDays.ONE_MONTH,
    90: RetentionDays.THREE_MONTHS,
    180: RetentionDays.SIX_MONTHS,
    365: RetentionDays.ONE_YEAR,
    731: RetentionDays.TWO_YEARS,
}
