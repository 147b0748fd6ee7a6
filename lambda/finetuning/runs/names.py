"""Names of a run's SageMaker resources. They derive from the run id, so a repeated step uses the same names."""

import hashlib
import re
from dataclasses import dataclass

TEMPORARY = ("-base", "-candidate")
"""Suffixes of resources that exist only for the evaluation."""


@dataclass(frozen=True)
class Names:
    """All names of one run. Each matches SageMaker's pattern and has at most 63 characters: the names of stages and
    uploads, and `endpoint.name`, are short enough.
    """

    prefix: str
    run_id: str
    endpoint_name: str | None = None
    """The user's name for the endpoint (run.json `endpoint.name`), without the prefix."""
    hosted_on: str = ""
    """`hosting_suffix` of the instance type: another type needs another model and configuration."""

    def training_job(self, attempt: int) -> str:
        """One job per attempt: after a capacity error the next attempt has another instance type."""
        return f"{self._run}-{attempt}" if attempt else self._run

    def import_job(self, attempt: int) -> str:
        """One job per import of the run's model into Bedrock: a name is taken even after its job has ended."""
        return self.training_job(attempt)

    def is_job(self, name: str) -> bool:
        """True for a training job or an import job of the run. Names of another run may begin with this run's, because
        an upload may be named like a run: they go on with the 8 digits of its own digest.
        """
        return re.fullmatch(re.escape(self._run) + r"(-\d{1,7})?", name) is not None

    @property
    def imported_model(self) -> str:
        """The model in Bedrock."""
        return self._run

    @property
    def model(self) -> str:
        return self._run + self.hosted_on

    def model_on(self, instance_type: str) -> str:
        """The model for an instance type of which the planned one's container cannot be used."""
        return self._run + hosting_suffix(instance_type)

    @property
    def _run(self) -> str:
        return f"{self.prefix}-{self.run_id}"

    @property
    def endpoint_config(self) -> str:
        return self.model

    @property
    def endpoint(self) -> str:
        return f"{self.prefix}-{self.endpoint_name or self.run_id}"

    def endpoint_of(self, variant: str) -> str:
        """The endpoint of the tuned model, `live` or `candidate`, or of the `base` model."""
        return {"live": self.endpoint, "candidate": self.candidate, "base": self.base}[variant]

    def is_temporary(self, endpoint: str) -> bool:
        """True for an endpoint of the run that exists only for its evaluation."""
        return endpoint in {self._run + suffix for suffix in TEMPORARY}

    @staticmethod
    def run_id_in(name: str, prefix: str) -> str:
        """The id of the run that created a model or configuration of this name; `prefix` ends in a hyphen."""
        run_id = re.sub(r"-t[0-9a-f]{4}$", "", name.removeprefix(prefix))
        for suffix in TEMPORARY:
            run_id = run_id.removesuffix(suffix)
        return run_id

    @property
    def base(self) -> str:
        """Model, configuration and temporary endpoint of the base model, for the comparison."""
        return f"{self._run}-base"

    @property
    def candidate(self) -> str:
        """Configuration and temporary endpoint on which the tuned model is evaluated before it is deployed."""
        return f"{self._run}-candidate"


def hosting_suffix(instance_type: str) -> str:
    """What follows the names of a run's model and configuration on another instance type than the planned one."""
    return "-t" + hashlib.sha256(instance_type.encode()).hexdigest()[:4]
