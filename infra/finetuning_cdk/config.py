"""The settings of a stage, checked when the app is synthesised.

Their defaults are those of a profile: `dev` is deleted with its stacks and costs nothing by the hour while idle; `prod`
keeps its data and never leaves the private network. Every field can be overridden for one synthesis:
`-c max_cost_usd=50`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

from aws_cdk import RemovalPolicy
from aws_cdk.aws_logs import RetentionDays
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from finetuning.jumpstart.catalogue import nearest
from finetuning.settings import (
    BEDROCK_ENDPOINTS,
    INTERFACE_ENDPOINTS,
    JUDGE_ID,
    STAGE_NAME,
    CommaSeparated,
    Settings,
    StageSettings,
)

SET_BY_LAMBDA = frozenset({"aws_region", "aws_lambda_function_memory_size"})


class ConfigurationError(ValueError):
    """The stage or one of its settings is wrong; the message names the field."""


class StageConfig(StageSettings):
    """Settings of one stage: those its functions read, and those of its infrastructure alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Where dev and prod differ.
    keep_data: bool
    """Whether buckets, key and logs outlive their stacks. Otherwise they are emptied and deleted."""
    termination_protection: bool
    control_functions_in_vpc: bool
    """Whether functions that do not prepare data run in the VPC too. They need the interface endpoints there."""
    interface_endpoints: bool
    """Private addresses of the AWS APIs in the VPC; about 8 USD a month each in every zone."""
    reserve_concurrency: bool
    """Whether every function reserves a share of the account's Lambda concurrency, 500 in all at most: it can neither
    starve other software in the account nor be starved. A new account has too little to reserve any.
    """
    log_retention_days: int

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
    """Patterns; IAM allows endpoints on no other type."""
    monthly_budget_usd: float | None = Field(default=None, gt=0)
    """What the stage may cost in a month before the team is notified; None: there is no budget. It counts by the tag
    `finetune:stage`, which the paying account must activate as a cost allocation tag.
    """
    data_readers: CommaSeparated = ()
    """Who may read data besides the stage's own roles: ARNs of roles or users, `*` for any part. The key denies
    everyone else; without any, IAM alone decides. Users who upload large files in parts must be listed: S3 decrypts the
    parts to join them.
    """
    notification_email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    availability_zones: CommaSeparated = ()
    """Names of the network's zones, two or more, such as `us-east-1a`; by default the first two by name. SageMaker
    places instances in these zones only, and large GPUs are in few zones. Set it before the first deployment: an
    existing subnet can neither move nor be replaced by one with the same addresses.
    """
    vpc_cidr: str = Field(default="10.64.0.0/20", pattern=r"^\d+\.\d+\.\d+\.\d+/(1[6-9]|2[0-3])$")
    """With room for a subnet of 256 addresses in every zone."""

    @property
    def has_budget(self) -> bool:
        return self.monthly_budget_usd is not None

    @property
    def services(self) -> Mapping[str, str]:
        """The services that functions call from the network, if they are in it: as `INTERFACE_ENDPOINTS`."""
        calls_bedrock = self.bedrock_import or self.judge_models
        return {**INTERFACE_ENDPOINTS, **(BEDROCK_ENDPOINTS if calls_bedrock else {})}

    @property
    def removal_policy(self) -> RemovalPolicy:
        """The removal policy of everything that holds data."""
        return RemovalPolicy.RETAIN if self.keep_data else RemovalPolicy.DESTROY

    @property
    def log_retention(self) -> RetentionDays:
        return RETENTION[self.log_retention_days]

    def function_environment(self, deployed: Mapping[str, object]) -> dict[str, str]:
        """The functions' environment variables: exactly the fields of `Settings`, from what is deployed or from here.

        Raises `KeyError` with the field's name where neither has it, so that no new setting can be forgotten.
        """
        known = {**dict(self), **deployed}
        values = {name: known[name] for name in Settings.model_fields if name not in SET_BY_LAMBDA}
        return {name.upper(): _as_variable(value) for name, value in values.items() if value is not None}

    @field_validator("data_readers")
    @classmethod
    def _must_be_principals(cls, readers: tuple[str, ...]) -> tuple[str, ...]:
        for reader in readers:
            if not re.fullmatch(r"arn:aws:iam::\d{12}:(role|user)/[\w+=,.@/*-]+", reader):
                raise ValueError(
                    f"{reader!r} is not the ARN of a role or user, such as arn:aws:iam::123456789012:role/Team*"
                )
        return readers

    @field_validator("judge_models")
    @classmethod
    def _must_be_models_of_bedrock(cls, judges: tuple[str, ...]) -> tuple[str, ...]:
        for judge in judges:
            if not re.fullmatch(JUDGE_ID, judge):
                raise ValueError(
                    f"{judge!r} is not the id of a model or an inference profile in Bedrock, such as "
                    "amazon.nova-pro-v1:0 or us.amazon.nova-pro-v1:0"
                )
        return judges

    @field_validator("availability_zones")
    @classmethod
    def _must_be_zones_of_one_region(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        for zone in zones:
            if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d[a-z]", zone):
                raise ValueError(f"{zone!r} is not the name of an availability zone, such as us-east-1a")
        if zones and (len(set(zones)) < max(2, len(zones)) or len({zone[:-1] for zone in zones}) > 1):
            raise ValueError("name two or more different zones of one region")
        return zones

    @model_validator(mode="after")
    def _must_have_room_for_its_subnets(self) -> Self:
        zones, prefix = len(self.availability_zones) or 2, int(self.vpc_cidr.rpartition("/")[2])
        if (room := 1 << (24 - prefix)) < zones:
            raise ValueError(
                f"vpc_cidr {self.vpc_cidr} has room for {room} subnets of 256 addresses, and there are {zones} zones: "
                f"use /{24 - (zones - 1).bit_length()} or larger"
            )
        return self

    @field_validator("log_retention_days")
    @classmethod
    def _must_be_a_retention_of_cloudwatch(cls, days: int) -> int:
        if days not in RETENTION:
            raise ValueError(f"must be one of {', '.join(map(str, RETENTION))} days")
        return days

    @classmethod
    def of(cls, stage: str, overrides: Mapping[str, Any], *, profile: str | None = None) -> Self:
        """The profile's settings with the overrides applied; the profiles' own names are stages without one.

        Raises `ConfigurationError`.
        """
        profiles = " or ".join(PROFILES)
        if not re.fullmatch(STAGE_NAME, stage):
            raise ConfigurationError(
                f"stage: must be 2 to 8 lower-case letters and digits that begin with a letter, not {stage!r}"
            )
        if profile is None and stage not in PROFILES:
            raise ConfigurationError(f"profile: the stage {stage} needs one, {profiles}, such as -c profile=dev")
        profile = stage if profile is None else profile
        if profile not in PROFILES:
            raise ConfigurationError(f"profile: must be {profiles}, not {profile!r}")
        try:
            return cls(**{"stage": stage, **PROFILES[profile], **overrides})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {cls._problem(each)}" for each in error.errors())
            raise ConfigurationError(f"Stage {stage}: {wrong}") from error

    @classmethod
    def _problem(cls, found: ErrorDetails) -> str:
        if found["type"] == "extra_forbidden":
            near = nearest(str(found["loc"][-1]), cls.model_fields)
            return f"unknown setting; did you mean {near}?" if near else "unknown setting; docs/operating.md lists all"
        return found["msg"].removeprefix("Value error, ").replace("Input should be", "must be")


def stage_in(context: Mapping[str, Any]) -> dict[str, Any]:
    """The stage in the CDK's context: its name, its profile if it has one, and its settings, which are all other plain
    lower-case keys. Raises `ConfigurationError` without a name.
    """
    found = {key: value for key, value in context.items() if key.replace("_", "").isalpha() and key.islower()}
    if not found.get("stage"):
        raise ConfigurationError("stage: no stage is set; choose one with -c stage=dev")
    return found


PROFILES: Mapping[str, Mapping[str, Any]] = {
    "dev": {
        "keep_data": False,
        "termination_protection": False,
        "control_functions_in_vpc": False,
        "interface_endpoints": False,
        "reserve_concurrency": False,
        "log_retention_days": 14,
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
        # Applications depend on these: an endpoint deleted by itself is an outage. Each run.json can override it.
        "endpoint_ttl_hours": "never",
        "endpoint_idle_minutes": "never",
        "signed_report_links": False,
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


def _as_variable(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value
        case Iterable():
            return ",".join(map(str, value))
    return str(value)
