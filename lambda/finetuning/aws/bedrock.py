"""Imported models in Bedrock's control plane. Every call may be repeated.

Bedrock chooses the ARN of a job or a model, so that IAM knows it by the stage's tag alone, and denies a call on what
does not exist. What has a run's name is therefore found in a list first, and asked about by its ARN.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import QUOTA, TRY_AGAIN, error_code, translate_errors
from finetuning.bedrock.facts import import_facts
from finetuning.errors import Code, FineTuningError, TransientAwsError

Request = Mapping[str, Any]
ABSENT = "ResourceNotFoundException"


@contextmanager
def _import_errors(action: str) -> Iterator[None]:
    """The errors of `translate_errors`, with what to do about the quotas of imports."""
    with translate_errors(action):
        try:
            yield
        except ClientError as error:
            if error_code(error) not in QUOTA:
                raise
            quota, reason = import_facts().quota.value.name, str(error.response["Error"].get("Message", error))
            raise FineTuningError(
                Code.QUOTA_EXCEEDED,
                f"Quota exceeded: cannot {action}: {reason}",
                "Delete an imported model that is not needed (`finetune endpoints` lists them, `finetune clean-up RUN` "
                f"deletes one), or request a higher “{quota}” in the Service Quotas console. Then deploy the "
                "model with `finetune deploy RUN`: it is kept.",
            ) from error


class Bedrock:
    """Imports, describes and deletes models. Raises the errors of `translate_errors`."""

    def __init__(self, bedrock: Any) -> None:
        self._api = bedrock

    def start_import(self, request: Request) -> str:
        """Starts the import job; returns its ARN. `request` is CreateModelImportJob's.

        A step that is repeated finds the job in the list: if that is late, Bedrock knows the request by its token.
        """
        with _import_errors(f"import the model {request['importedModelName']}"):
            return str(self._api.create_model_import_job(**request)["jobArn"])

    def import_jobs(self, prefix: str) -> Iterator[dict[str, Any]]:
        """The jobs whose name starts with the prefix, as in ListModelImportJobs, newest first."""
        with translate_errors("list the import jobs"):
            pages = self._api.get_paginator("list_model_import_jobs").paginate(
                nameContains=prefix, sortBy="CreationTime", sortOrder="Descending"
            )
            for page in pages:
                yield from (job for job in page["modelImportJobSummaries"] if job["jobName"].startswith(prefix))

    def import_under_way(self) -> str | None:
        """The name of a model that the account is importing now, whoever imports it; None if there is none."""
        with translate_errors("list the import jobs"):
            for page in self._api.get_paginator("list_model_import_jobs").paginate(statusEquals="InProgress"):
                for job in page["modelImportJobSummaries"]:
                    if job["status"] == "InProgress":
                        return str(job.get("importedModelName", job["jobName"]))
        return None

    def describe_import(self, job_arn: str) -> dict[str, Any] | None:
        """The GetModelImportJob response; None if there is no such job."""
        return self._find("import job", job_arn, self._api.get_model_import_job, jobIdentifier=job_arn)

    def models(self, prefix: str) -> Iterator[dict[str, Any]]:
        """The imported models whose name starts with the prefix, as in ListImportedModels."""
        with translate_errors("list the imported models"):
            for page in self._api.get_paginator("list_imported_models").paginate(nameContains=prefix):
                yield from (model for model in page["modelSummaries"] if model["modelName"].startswith(prefix))

    def find_model(self, name: str) -> dict[str, Any] | None:
        """The imported model of that name, as in ListImportedModels; None if there is none."""
        return next((model for model in self.models(name) if model["modelName"] == name), None)

    def describe_model(self, model_arn: str) -> dict[str, Any]:
        """The GetImportedModel response. A model that was just imported may not be found yet: that is retried."""
        found = self._find("imported model", model_arn, self._api.get_imported_model, modelIdentifier=model_arn)
        if found is None:
            raise TransientAwsError(
                Code.AWS_UNAVAILABLE, f"Bedrock does not find the imported model {model_arn}.", TRY_AGAIN
            )
        return found

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of a job or a model; empty if it does not exist any more."""
        found = self._find("tags", arn, self._api.list_tags_for_resource, resourceARN=arn)
        return {tag["key"]: tag["value"] for tag in (found or {}).get("tags", [])}

    def tag(self, arn: str, tags: Mapping[str, str]) -> None:
        with translate_errors(f"tag {arn}"):
            self._api.tag_resource(resourceARN=arn, tags=[{"key": key, "value": tags[key]} for key in tags])

    def delete_model(self, model_arn: str) -> bool:
        """Deletes the model; its files in S3 are kept. False if it does not exist."""
        deleted = self._find("imported model", model_arn, self._api.delete_imported_model, modelIdentifier=model_arn)
        return deleted is not None

    @staticmethod
    def _find(noun: str, arn: str, call: Any, **identified: str) -> dict[str, Any] | None:
        with translate_errors(f"look up the {noun} of {arn}" if noun == "tags" else f"use the {noun} {arn}"):
            try:
                found: dict[str, Any] = call(**identified)
            except ClientError as error:
                if error_code(error) == ABSENT:
                    return None
                raise
        return found


def bedrock() -> Bedrock:
    return Bedrock(client("bedrock"))
