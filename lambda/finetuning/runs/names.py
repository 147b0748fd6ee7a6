"""Names of what a run makes in SageMaker. They derive from the run, so a repeated step asks for the same thing."""

from dataclasses import dataclass

MAX_NAME_LENGTH = 63
"""Of jobs, models, endpoint configurations and endpoints: SageMaker's."""

TEMPORARY = ("-base", "-candidate")
"""Ends of the names of what a run puts up for its evaluation alone."""


@dataclass(frozen=True)
class Names:
    """Every name of one run; each fits SageMaker's pattern and its 63 characters."""

    prefix: str
    run_id: str
    endpoint_name: str | None = None
    """The user's name for the endpoint (run.json `endpoint.name`), without the prefix."""

    def training_job(self, attempt: int) -> str:
        """One job per attempt; attempts differ by instance type after a capacity error."""
        return f"{self.prefix}-{self.run_id}" + (f"-{attempt}" if attempt else "")

    @property
    def model(self) -> str:
        return f"{self.prefix}-{self.run_id}"

    @property
    def endpoint_config(self) -> str:
        return self.model

    @property
    def endpoint(self) -> str:
        return f"{self.prefix}-{self.endpoint_name or self.run_id}"

    def is_temporary(self, endpoint: str) -> bool:
        """Whether the endpoint is one of the run's that are there for its evaluation alone."""
        return endpoint in {self.model + suffix for suffix in TEMPORARY}

    @staticmethod
    def run_id_in(name: str, prefix: str) -> str:
        """The id of the run that a model or configuration of this name came from; `prefix` with its hyphen."""
        run_id = name.removeprefix(prefix)
        for suffix in TEMPORARY:
            run_id = run_id.removesuffix(suffix)
        return run_id

    @property
    def base(self) -> str:
        """Model, configuration and endpoint of the temporary base model that answers are compared with."""
        return f"{self.model}-base"

    @property
    def candidate(self) -> str:
        """Configuration and endpoint on which the tuned model is judged before it goes live."""
        return f"{self.model}-candidate"
