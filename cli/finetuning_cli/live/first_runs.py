"""The runs of `finetune first-run` as they are seen in AWS: what the checks of the assumptions read."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from finetuning.aws.clients import client
from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.aws.sagemaker_runtime import asker
from finetuning.errors import FineTuningError
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.questions import as_inputs
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from finetuning.operations.run import Run
from finetuning.runs.uploads import Upload
from finetuning_cli.live.names import FIRST
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.endpoints import find_endpoint

PROMPT = "What should I pack for a day hike?"
PATIENCE_SECONDS = 600
"""How long a check waits for what AWS shows late, such as metrics and captured requests."""
POLL_SECONDS = 2.0
PROBE_SECONDS = 20
"""Between two questions to the endpoint while it is updated."""


@dataclass
class Probe:
    """Asks the endpoint while it is being changed, and counts."""

    asked: int = 0
    errors: list[str] = field(default_factory=list)
    at: float = 0.0

    def ask(self, endpoint: str, inputs: str) -> None:
        try:
            error = asker(endpoint)(inputs).error
        except FineTuningError as denied:
            error = denied.message
        self.asked += 1
        self.at = time.monotonic()
        if error is not None:
            self.errors.append(error)

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self.at > PROBE_SECONDS


@dataclass
class FirstRuns:
    """Both runs of one stage, by their uploads; a run that has not been submitted has none."""

    deployment: Deployment
    kms_key: str
    patience: float = PATIENCE_SECONDS
    poll_seconds: float = POLL_SECONDS
    uploads: list[Upload] = field(default_factory=list)
    probe: Probe = field(default_factory=Probe)

    @property
    def first(self) -> Run:
        return self.deployment.run(self.uploads[0].run_id)

    @property
    def second(self) -> Run:
        return self.deployment.run(self.uploads[1].run_id)

    @property
    def control(self) -> SageMaker:
        return sagemaker()

    @property
    def endpoint(self) -> str:
        return f"{self.deployment.prefix}-{FIRST}"

    @property
    def inputs(self) -> str:
        """The prompt as the endpoint expects it."""
        _, plan = find_endpoint(self.deployment, self.endpoint)
        return as_inputs(PROMPT, "chat", family=plan.family if plan else DEFAULT_FAMILY)

    def job(self) -> dict[str, Any]:
        """The description of the first run's last training job."""
        return self.control.describe_training_job(self.first.status.training_job) or {}

    def live(self) -> dict[str, Any]:
        """The endpoint's description; empty without one."""
        return self.control.describe_endpoint(self.endpoint) or {}

    def ask(self) -> Reply:
        return asker(self.endpoint)(self.inputs)

    def objects(self, prefix: str) -> list[str]:
        """Keys under a prefix of the artifacts bucket, of one page."""
        found = client("s3").list_objects_v2(Bucket=self.deployment.artifacts_bucket, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", [])]

    def until(self, reached: Callable[[], Any]) -> Any:
        """What `reached` returns once it is true, or last returned when the patience is over."""
        deadline = time.monotonic() + self.patience
        while not (found := reached()) and time.monotonic() < deadline:
            time.sleep(self.poll_seconds)
        return found


def now() -> datetime:
    return datetime.now(UTC)
