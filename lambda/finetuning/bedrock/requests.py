"""The request that imports a tuned model into Bedrock.

It equals the one that `BedrockModelBuilder` of the SageMaker SDK sends for the same model, names and tags; a test
compares it with a captured one. Deliberate difference: no tag with the model's source, by which the SDK finds a model
to use again; the run's own tag says where a model is from.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetuning.jumpstart.target import Target

NOT_IN_TAGS = re.compile(r"[^a-zA-Z0-9\s._:/=+@-]", re.ASCII)
"""Characters that Bedrock refuses in tags, by its service model. SageMaker takes letters of any alphabet."""


@dataclass(frozen=True)
class ImportJob:
    """An import. `name`: of the job, and its idempotency token, so that a repeated step starts no second one;
    `artifact`: S3 URI of the prefix with the merged model, which ends in `/`; `tags`: of the job and of the model.
    """

    name: str
    model: str
    artifact: str
    tags: Mapping[str, str]


def import_job(job: ImportJob, target: Target) -> dict[str, Any]:
    """CreateModelImportJob. Characters that a tag may not have become `_`; those of run.json are refused before."""
    if not job.artifact.endswith("/"):
        raise ValueError(f"a model's S3 prefix must end in a slash: {job.artifact}")
    tags = [{"key": key, "value": NOT_IN_TAGS.sub("_", value)} for key, value in job.tags.items()]
    return {
        "jobName": job.name,
        "importedModelName": job.model,
        "roleArn": target.import_role_arn,
        "modelDataSource": {"s3DataSource": {"s3Uri": job.artifact.removesuffix("/")}},
        "jobTags": tags,
        "importedModelTags": tags,
        "clientRequestToken": job.name,
        "importedModelKmsKeyId": target.kms_key_arn,
    }
