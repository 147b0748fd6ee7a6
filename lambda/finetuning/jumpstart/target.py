"""Where a stage's jobs and endpoints run."""

from dataclasses import dataclass
from typing import Any, Literal

VARIANT = "AllTraffic"
"""Name of an endpoint's only production variant, as the SDK names it."""


@dataclass(frozen=True)
class Target:
    """The deployed stage: where jobs run, with which role and which key.

    `gated_weights`: how a job gets the gated weights. With `env` the training script reads an environment variable,
    with `channel` they are an input channel that states the acceptance of the licence. Never both.
    `import_role_arn`: the role that Bedrock takes to read a model; "" in a stage that may not import any.
    """

    prefix: str
    stage: str
    region: str
    bucket: str
    role_arn: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    kms_key_arn: str
    gated_weights: Literal["env", "channel"] = "env"
    import_role_arn: str = ""

    @property
    def vpc(self) -> dict[str, Any]:
        return {"Subnets": list(self.subnets), "SecurityGroupIds": list(self.security_groups)}
