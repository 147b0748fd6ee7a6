"""SageMaker's control plane. Every call may be repeated.

The names of resources derive from the run, so a step that runs twice finds what it created the first time. "Already
exists" is success if the resource has the run's tag, and an error otherwise.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.cloudwatch import forget_endpoint
from finetuning.aws.errors import TRY_AGAIN, error_code, translate_errors
from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.runs.names import Names
from finetuning.runs.tags import ENDPOINT_TAG, OWNER_TAG, REPLACES_TAG, RUN_TAG

KEPT_CONFIGURATIONS = 3
"""Per endpoint, including the newest. `finetune rollback` can return to them; they cost nothing."""
PAGE_SIZE = 100
"""Entries of a list that one request returns: the most that SageMaker allows. Its own page has ten."""
Request = Mapping[str, Any]


def _says(error: ClientError, *codes_or_words: str) -> bool:
    """SageMaker has no error code for most cases of "exists" and "not found", so the message must be searched."""
    message = str(error.response.get("Error", {}).get("Message", "")).lower()
    return any(word == error_code(error) or word.lower() in message for word in codes_or_words)


def _is_taken(error: ClientError) -> bool:
    return _says(error, "ResourceInUse", "already existing", "already exists")


def is_absent(error: ClientError) -> bool:
    """True if the error says that the resource does not exist."""
    return _says(error, "ResourceNotFound", "could not find", "does not exist", "requested resource not found")


@contextmanager
def _once_found() -> Iterator[None]:
    """Makes "not found" an error to retry: SageMaker's reads are eventually consistent, so that a resource that the
    step has just created may not be found yet.
    """
    try:
        yield
    except ClientError as error:
        if not is_absent(error):
            raise
        raise TransientAwsError(
            Code.AWS_UNAVAILABLE,
            f"SageMaker does not find a resource that was created before: {error}",
            TRY_AGAIN,
        ) from error


@contextmanager
def _unless_absent() -> Iterator[None]:
    """Ignores "not found"."""
    try:
        yield
    except ClientError as error:
        if not is_absent(error):
            raise


class SageMaker:
    """Creates, describes and deletes resources. Raises the errors of `translate_errors`."""

    def __init__(self, sagemaker: Any) -> None:
        self._api = sagemaker

    def create_training_job(self, request: Request) -> str:
        """Starts the job, unless this run has started it before; returns its ARN."""
        return self._create("training_job", "TrainingJob", request)

    def create_model(self, request: Request) -> str:
        return self._create("model", "Model", request)

    def create_endpoint_config(self, request: Request) -> str:
        return self._create("endpoint_config", "EndpointConfig", request)

    def create_endpoint(self, request: Request) -> str:
        return self._create("endpoint", "Endpoint", request)

    def update_endpoint(self, request: Request, deployment_config: Request, keep_instances: bool) -> None:
        """Updates an endpoint of this project to another configuration, blue/green. `request` is CreateEndpoint's;
        with `keep_instances` it keeps its current number of instances, whatever the configuration says.

        The earlier model serves until the new one is healthy, and stays if it never is. Raises `FineTuningError`
        (ENDPOINT_BUSY) during another update.
        """
        name, config = request["EndpointName"], request["EndpointConfigName"]
        with translate_errors(f"update the endpoint {name}"), _once_found():
            try:
                arn = self._api.update_endpoint(
                    EndpointName=name,
                    EndpointConfigName=config,
                    DeploymentConfig=deployment_config,
                    RetainAllVariantProperties=keep_instances,
                )["EndpointArn"]
            except ClientError as error:
                if not _says(error, "in-progress"):
                    raise
                raise endpoint_busy(name) from error
            self._api.add_tags(ResourceArn=arn, Tags=request["Tags"])

    def require_ours(self, endpoint: Mapping[str, Any]) -> None:
        """Raises `FineTuningError` (ENDPOINT_NAME_TAKEN) unless this project created the endpoint. `endpoint`: a
        DescribeEndpoint response.
        """
        if OWNER_TAG not in self.tags(endpoint["EndpointArn"]):
            raise FineTuningError(
                Code.ENDPOINT_NAME_TAKEN,
                f"The endpoint {endpoint['EndpointName']} exists, and this project did not create it.",
                "Choose another endpoint.name in run.json, or delete that endpoint.",
            )

    def configuration(self, name: str) -> tuple[dict[str, Any], dict[str, str]] | None:
        """An endpoint configuration and its tags; None if it does not exist."""
        described = self._describe(self._api.describe_endpoint_config, EndpointConfigName=name)
        return None if described is None else (described, self.tags(described["EndpointConfigArn"]))

    def tag(self, arn: str, tags: Mapping[str, str]) -> None:
        with translate_errors(f"tag {arn}"):
            self._api.add_tags(ResourceArn=arn, Tags=[{"Key": key, "Value": tags[key]} for key in tags])

    def prune_configurations(self, prefix: str, endpoint: str, newest: str) -> None:
        """Deletes the endpoint's earlier configurations, with their models, except the newest `KEPT_CONFIGURATIONS`."""
        earlier = {name: tags.get(REPLACES_TAG, "") for name, tags in self._configurations(prefix, endpoint)}
        kept = [newest]
        while (previous := earlier.get(kept[-1], "")) and previous not in kept and len(kept) < KEPT_CONFIGURATIONS:
            kept.append(previous)
        for name in earlier.keys() - kept:
            models = self._models_of(name)
            self.delete_endpoint_config(name)
            for model in models:
                self.delete_model(model)

    def _models_of(self, config: str) -> set[str]:
        """The names of a configuration's models: its own, and those of its instance pools."""
        described = self._describe(self._api.describe_endpoint_config, EndpointConfigName=config) or {}
        pools = [
            pool for variant in described.get("ProductionVariants", []) for pool in variant.get("InstancePools", [])
        ]
        return {config} | {pool["ModelNameOverride"] for pool in pools if "ModelNameOverride" in pool}

    def _configurations(self, prefix: str, endpoint: str) -> Iterator[tuple[str, dict[str, str]]]:
        """The configurations created for the endpoint, with their tags."""
        for config in list(self.endpoint_configs(f"{prefix}-")):
            tags = self.tags(config["EndpointConfigArn"])
            if tags.get(ENDPOINT_TAG) == endpoint:
                yield config["EndpointConfigName"], tags

    def register_model(self, group: Request, package: Request) -> str:
        """Adds a version to the model registry, and its group if it is the first; returns the version's ARN.

        May be repeated: for the same `ClientToken` SageMaker returns the version that it created the first time.
        """
        name = group["ModelPackageGroupName"]
        with translate_errors(f"create the model package group {name}"):
            try:
                self._api.create_model_package_group(**group)
            except ClientError as error:
                if not _is_taken(error):
                    raise
        with translate_errors(f"register a model in {name}"):
            return str(self._api.create_model_package(**package)["ModelPackageArn"])

    def share_group(self, group: str, policy: Request) -> None:
        """Sets the policy of a group in the model registry, in place of the one it has."""
        with translate_errors(f"share the model package group {group}"):
            self._api.put_model_package_group_policy(ModelPackageGroupName=group, ResourcePolicy=json.dumps(policy))

    def describe_model_package(self, arn: str) -> dict[str, Any]:
        """A version of the registry, of another account too."""
        with translate_errors(f"read the registered model {arn}"):
            return dict(self._api.describe_model_package(ModelPackageName=arn))

    def unregister_models(self, prefix: str) -> None:
        """Deletes the groups whose name starts with the prefix, with all their versions, from the model registry."""
        with translate_errors("empty the model registry"):
            name = "ModelPackageGroupName"
            groups = self._listed("model_package_groups", "ModelPackageGroupSummaryList", name, prefix)
            for group in [each[name] for each in groups]:
                versions = self._api.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
                for package in [p["ModelPackageArn"] for page in versions for p in page["ModelPackageSummaryList"]]:
                    self._api.delete_model_package(ModelPackageName=package)
                self._api.delete_model_package_group(ModelPackageGroupName=group)

    def describe_training_job(self, name: str) -> dict[str, Any] | None:
        return self._describe(self._api.describe_training_job, TrainingJobName=name)

    def describe_endpoint(self, name: str) -> dict[str, Any] | None:
        return self._describe(self._api.describe_endpoint, EndpointName=name)

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of a resource; empty if it does not exist any more."""
        with translate_errors(f"read the tags of {arn}"), _unless_absent():
            pages = self._api.get_paginator("list_tags").paginate(ResourceArn=arn)
            return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
        return {}

    def tag_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        live = self.describe_endpoint(name)
        if live is not None:
            self.tag(live["EndpointArn"], tags)

    def endpoints(self, prefix: str) -> Iterator[dict[str, Any]]:
        """The endpoints whose name starts with the prefix, as in ListEndpoints."""
        return self._listed("endpoints", "Endpoints", "EndpointName", prefix)

    def training_jobs(self, prefix: str, status: str | None = None) -> Iterator[str]:
        """The names of the jobs that start with the prefix; only those in that status if one is named."""
        chosen = {"StatusEquals": status} if status else {}
        jobs = self._listed("training_jobs", "TrainingJobSummaries", "TrainingJobName", prefix, **chosen)
        return (job["TrainingJobName"] for job in jobs)

    def jobs_of(self, names: Names, status: str | None = None) -> Iterator[str]:
        """The names of the run's training jobs, of all attempts; only those in that status if one is named."""
        return (job for job in self.training_jobs(names.training_job(0), status) if names.is_job(job))

    def models(self, prefix: str) -> Iterator[dict[str, Any]]:
        """The models whose name starts with the prefix, as in ListModels."""
        return self._listed("models", "Models", "ModelName", prefix)

    def endpoint_configs(self, prefix: str) -> Iterator[dict[str, Any]]:
        """The endpoint configurations whose name starts with the prefix, as in ListEndpointConfigs."""
        return self._listed("endpoint_configs", "EndpointConfigs", "EndpointConfigName", prefix)

    def _listed(self, what: str, member: str, name: str, prefix: str, **chosen: str) -> Iterator[dict[str, Any]]:
        """The entries of list_`what` whose `name` starts with the prefix: `NameContains` finds it anywhere."""
        with translate_errors(f"list the {what.replace('_', ' ')}"):
            pages = self._api.get_paginator(f"list_{what}").paginate(
                NameContains=prefix, PaginationConfig={"PageSize": PAGE_SIZE}, **chosen
            )
            for page in pages:
                yield from (each for each in page[member] if each[name].startswith(prefix))

    def is_owned(self, arn: str, owner: str) -> bool:
        """True if the stage with the prefix `owner` created the resource. Its name alone does not prove it."""
        return self.tags(arn).get(OWNER_TAG) == owner

    def stop_training_job(self, name: str) -> bool:
        """Stops the job; False if it does not exist or is not in progress."""
        job = self.describe_training_job(name)
        if job is None or job["TrainingJobStatus"] != "InProgress":
            return False
        with translate_errors(f"stop the training job {name}"):
            self._api.stop_training_job(TrainingJobName=name)
        return True

    def delete_endpoint(self, name: str) -> bool:
        """Deletes the endpoint, all its configurations and its alarms. Models are kept. False if it does not exist, or
        is being deleted.

        SageMaker ends the endpoint's autoscaling as well, if the caller is allowed to deregister scalable targets.
        """
        live = self.describe_endpoint(name)
        if live is None or live["EndpointStatus"] == "Deleting":
            return False
        prefix = self.tags(live["EndpointArn"]).get(OWNER_TAG)
        with translate_errors(f"delete the endpoint {name}"), _unless_absent():
            self._api.delete_endpoint(EndpointName=name)
        # What may fail comes last: from here on nothing costs money.
        configurations = {live["EndpointConfigName"]}
        configurations |= {config for config, _ in self._configurations(prefix, name)} if prefix else set()
        for config in sorted(configurations):
            self.delete_endpoint_config(config)
        forget_endpoint(name)
        return True

    def delete_endpoint_config(self, name: str) -> None:
        with translate_errors(f"delete the endpoint configuration {name}"), _unless_absent():
            self._api.delete_endpoint_config(EndpointConfigName=name)

    def delete_model(self, name: str) -> None:
        """Deletes the entry in SageMaker; the artefact in S3 is kept."""
        with translate_errors(f"delete the model {name}"), _unless_absent():
            self._api.delete_model(ModelName=name)

    def _create(self, kind: str, noun: str, request: Request) -> str:
        name = request[f"{noun}Name"]
        # A model or a job is made of S3 objects: if SageMaker does not find them, a retry does not help.
        patience = _once_found() if kind.startswith("endpoint") else nullcontext()
        with translate_errors(f"create the {kind.replace('_', ' ')} {name}"), patience:
            try:
                return str(getattr(self._api, f"create_{kind}")(**request)[f"{noun}Arn"])
            except ClientError as error:
                if not _is_taken(error):
                    raise
        described = self._describe(getattr(self._api, f"describe_{kind}"), **{f"{noun}Name": name}) or {}
        arn = str(described.get(f"{noun}Arn", ""))
        ours = next(tag["Value"] for tag in request["Tags"] if tag["Key"] == RUN_TAG)
        if not arn or self.tags(arn).get(RUN_TAG) != ours:
            raise FineTuningError(
                Code.REQUEST_INVALID,
                f"The {kind.replace('_', ' ')} {name} exists, and this run did not create it.",
                "Delete it, or upload the data again: a new upload gets another name.",
            )
        return arn

    @staticmethod
    def _describe(describe: Callable[..., dict[str, Any]], **name: str) -> dict[str, Any] | None:
        with translate_errors(f"look up {next(iter(name.values()))}"):
            try:
                return describe(**name)
            except ClientError as error:
                if is_absent(error):
                    return None
                raise


def endpoint_busy(name: str) -> FineTuningError:
    return FineTuningError(
        Code.ENDPOINT_BUSY,
        f"The endpoint {name} is already being updated.",
        "Wait until it is InService (`finetune endpoints`), then try again: `finetune deploy RUN` needs no training.",
    )


def sagemaker() -> SageMaker:
    return SageMaker(client("sagemaker"))
