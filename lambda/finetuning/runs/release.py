"""release.json: what another account needs to deploy a tuned model, and to prove that it is the same one."""

import hashlib
from collections.abc import Sequence

from pydantic import Field

from finetuning.runs.endpoint_plan import PlanPart
from finetuning.runs.plan import RunPlan

ARTEFACT_DIGEST = "artefact-digest"
RELEASE_DIGEST = "release-sha256"
RUN = "run-id"
PROMOTED_FROM = "promoted-from"
"""Properties of a version in the model registry."""


class ModelFile(PlanPart):
    """A file of a tuned model. `name`: its path below the model's folder. Size in bytes.

    `version_id`: the version in its bucket, which nobody can change. `checksum`: S3's, of the whole file, such as
    `CRC64NVME:AbCdEfGhIjk=`; "" if S3 keeps none.
    """

    name: str
    size: int
    version_id: str
    checksum: str


class Release(PlanPart):
    """A tuned model as its account registered it. `location`: S3 URI of its files, ending in `/`. `scores`: properties
    of the evaluation in the model registry.

    `plan` is the run's, without what another account has no use for: the names of the data files and the prompts.
    """

    plan: RunPlan
    training_job: str
    location: str
    files: list[ModelFile]
    scores: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(
        cls, plan: RunPlan, training_job: str, location: str, files: Sequence[ModelFile], scores: dict[str, str]
    ) -> "Release":
        kept = {"data_files": [], "checks": [], "evaluation": plan.evaluation.model_copy(update={"prompts": []})}
        return cls(
            plan=plan.model_copy(update=kept),
            training_job=training_job,
            location=location,
            files=list(files),
            scores=scores,
        )

    @property
    def digest(self) -> str:
        """Of all files; "" if S3 keeps no checksum of one of them."""
        return artefact_digest(self.files)


def artefact_digest(files: Sequence[ModelFile]) -> str:
    """SHA-256 of the files' names, sizes and checksums: the same for a copy, whatever bucket and key it has. "" without
    files, or if S3 keeps no checksum of one of them.
    """
    if not files or not all(file.checksum for file in files):
        return ""
    lines = sorted(f"{file.name}\t{file.size}\t{file.checksum}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def release_digest(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()
