"""An AWS account in memory, for unit tests: what boto3's clients would answer, without HTTP.

SageMaker keeps what is created; its statuses change only where a test changes them. Every other service records its
calls and answers as a test tells it.
"""

import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from finetuning.jumpstart.target import VARIANT
from finetuning.runs.names import Names
from finetuning.runs.tags import OWNER_TAG, RUN_TAG
from tests.builders.jumpstart import FACTS, sagemaker_model, service_model
from tests.builders.memory import PREFIX
from tests.builders.runs import RUN_ID

KINDS = {"training_job": "TrainingJob", "model": "Model", "endpoint_config": "EndpointConfig", "endpoint": "Endpoint"}
LISTS = {
    "list_training_jobs": ("training_job", "TrainingJobSummaries"),
    "list_models": ("model", "Models"),
    "list_endpoint_configs": ("endpoint_config", "EndpointConfigs"),
    "list_endpoints": ("endpoint", "Endpoints"),
}
FIRST_STATUS = {"training_job": "InProgress", "endpoint": "Creating"}


def client_error(code: str, message: str = "no", operation: str = "AnyOperation") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


def ends(asked: int) -> Callable[..., dict[str, str]]:
    """DescribeExecution's answers: the execution runs the first `asked` times, and is aborted from then on."""
    answers = chain(repeat("RUNNING", asked), repeat("ABORTED"))
    return lambda **_: {"status": next(answers)}


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


class FakeService:
    """Records every call. `answers`: by operation, a response, an exception to raise, or a function of the request."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.meta = SimpleNamespace(endpoint_url="https://service.us-east-1.amazonaws.com")

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            self.calls.append((operation, request))
            if operation not in self.answers:
                return self._answer(operation, request)
            answer = self.answers[operation]
            if isinstance(answer, Exception):
                raise answer
            return answer(**request) if callable(answer) else answer

        return call

    def _answer(self, operation: str, request: dict[str, Any]) -> Any:
        return {}

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **request: [getattr(self, operation)(**request)])

    def refuse(self, operation: str, code: str, message: str = "no") -> None:
        """Lets every call of the operation fail with that error."""
        self.answers[operation] = client_error(code, message, operation)

    def requests(self, operation: str) -> list[dict[str, Any]]:
        """What was asked of that operation."""
        return [request for name, request in self.calls if name == operation]


class FakeSageMaker(FakeService):
    """SageMaker's control plane. `things`: by kind ("endpoint") and name, as it is described."""

    def __init__(self) -> None:
        super().__init__()
        self.things: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.tags: dict[str, dict[str, str]] = defaultdict(dict)
        self.meta = SimpleNamespace(service_model=sagemaker_model())

    def _answer(self, operation: str, request: dict[str, Any]) -> Any:
        if operation in LISTS:
            return self._list(*LISTS[operation], request)
        if operation == "list_tags":
            return {"Tags": _as_list(self.tags[request["ResourceArn"]])}
        if operation == "add_tags":
            self.tags[request["ResourceArn"]] |= _as_dict(request["Tags"])
            return {}
        verb, _, kind = operation.partition("_")
        return getattr(self, f"_{verb}")(kind, request) if kind in KINDS else {}

    def _list(self, kind: str, field: str, request: dict[str, Any]) -> dict[str, Any]:
        status = request.get("StatusEquals")
        named = (t for name, t in self.things[kind].items() if request.get("NameContains", "") in name)
        return {field: [thing for thing in named if status in (None, thing.get(f"{KINDS[kind]}Status"))]}

    def _create(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        noun, name = KINDS[kind], request[f"{KINDS[kind]}Name"]
        if name in self.things[kind]:
            raise client_error("ValidationException", f"Cannot create already existing {kind} {name}.")
        arn = f"arn:aws:sagemaker:us-east-1:123456789012:{kind.replace('_', '-')}/{name}"
        now = datetime.now(UTC)
        thing = {**request, f"{noun}Arn": arn, "CreationTime": now, "LastModifiedTime": now}
        if kind in FIRST_STATUS:
            thing[f"{noun}Status"] = FIRST_STATUS[kind]
        self.things[kind][name] = thing
        self.tags[arn] = _as_dict(thing.pop("Tags", []))
        return {f"{noun}Arn": arn}

    def _find(self, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        name = request[f"{KINDS[kind]}Name"]
        if name not in self.things[kind]:
            raise client_error("ValidationException", f"Could not find {kind} {name}.")
        return self.things[kind][name]

    def _describe(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self._find(kind, request))

    def _delete(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        self._find(kind, request)
        del self.things[kind][request[f"{KINDS[kind]}Name"]]
        return {}

    def _stop(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        self._find(kind, request)[f"{KINDS[kind]}Status"] = "Stopping"
        return {}

    def _update(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        thing = self._find(kind, request)
        if thing["EndpointStatus"] == "Failed":
            raise client_error("ValidationException", f"Cannot update failed endpoint {request['EndpointName']}.")
        thing |= {"EndpointStatus": "Updating", "LastModifiedTime": datetime.now(UTC)}
        thing["PendingDeploymentSummary"] = {"EndpointConfigName": request["EndpointConfigName"]}
        return {"EndpointArn": thing["EndpointArn"]}

    def names(self, kind: str) -> set[str]:
        return set(self.things[kind])

    def endpoint(self, name: str) -> dict[str, Any]:
        return self.things["endpoint"][name]

    def tags_of(self, kind: str, name: str) -> dict[str, str]:
        return self.tags[self.things[kind][name][f"{KINDS[kind]}Arn"]]

    def add(
        self, kind: str, name: str, run_id: str | None = RUN_ID, tags: Mapping[str, str] | None = None, **described: Any
    ) -> dict[str, Any]:
        """Something of a run of this stage (`run_id` None: of somebody else), described so."""
        ours = {RUN_TAG: run_id, OWNER_TAG: PREFIX} if run_id else {}
        self._create(kind, {f"{KINDS[kind]}Name": name, "Tags": _as_list({**ours, **(tags or {})})})
        self.things[kind][name] |= described
        return self.things[kind][name]

    def add_endpoint(
        self,
        name: str = f"{PREFIX}-{RUN_ID}",
        config: str = f"{PREFIX}-{RUN_ID}",
        run_id: str | None = RUN_ID,
        *,
        status: str = "InService",
        hours_old: float = 1,
        instances: int = 1,
        tags: Mapping[str, str] | None = None,
        config_tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """An endpoint with its configuration and its model."""
        if config not in self.things["endpoint_config"]:
            self.add("endpoint_config", config, run_id, config_tags or {}, **_production(config, instances))
        if config not in self.things["model"]:
            self.add("model", config, run_id)
        return self.add(
            "endpoint",
            name,
            run_id,
            tags,
            EndpointConfigName=config,
            EndpointStatus=status,
            CreationTime=hours_ago(hours_old),
            LastModifiedTime=hours_ago(hours_old),
            ProductionVariants=[{"VariantName": VARIANT, "CurrentInstanceCount": instances}],
        )

    def add_job(
        self, name: str = Names(PREFIX, RUN_ID).training_job(0), run_id: str | None = RUN_ID, **described: Any
    ) -> dict[str, Any]:
        """The training job of a run, in progress unless `described` otherwise."""
        return self.add("training_job", name, run_id, **described)


def _production(model: str, instances: int) -> dict[str, Any]:
    return {"ProductionVariants": [{"ModelName": model, "InitialInstanceCount": instances}]}


def _as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _as_dict(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


class FakeBedrock(FakeService):
    """Bedrock's imports, one at a time. `jobs`, `models` and `tags` by ARN; a job goes on until a test ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.meta = SimpleNamespace(service_model=service_model("bedrock"))
        self.jobs: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def _arn(self, kind: str) -> str:
        return f"arn:aws:bedrock:us-east-1:123456789012:{kind}/{len(self.jobs) + len(self.tags):012}"

    def _answer(self, operation: str, request: dict[str, Any]) -> Any:
        match operation:
            case "create_model_import_job":
                if any(job["status"] == "InProgress" for job in self.jobs.values()):
                    raise client_error("ServiceQuotaExceededException", "Concurrent model import jobs: 1.", operation)
                arn = self._arn("model-import-job")
                kept = {name: request[name] for name in ("jobName", "importedModelName", "modelDataSource")}
                self.jobs[arn] = {**kept, "jobArn": arn, "status": "InProgress", "creationTime": datetime.now(UTC)}
                return {"jobArn": arn}
            case "list_model_import_jobs":
                return {"modelImportJobSummaries": self._named(self.jobs, "jobName", request)}
            case "list_imported_models":
                return {"modelSummaries": self._named(self.models, "modelName", request)}
            case "get_model_import_job":
                return self._found(self.jobs, request["jobIdentifier"])
            case "get_imported_model":
                return self._found(self.models, request["modelIdentifier"])
            case "delete_imported_model":
                self._found(self.models, request["modelIdentifier"])
                del self.models[request["modelIdentifier"]], self.tags[request["modelIdentifier"]]
                return {}
            case "list_tags_for_resource":
                tags = self._found(self.tags, request["resourceARN"])
                return {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
            case "tag_resource":
                self.tags[request["resourceARN"]] |= {tag["key"]: tag["value"] for tag in request["tags"]}
                return {}
        raise AssertionError(f"nobody expects {operation}")

    def _named(self, things: dict[str, dict[str, Any]], member: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        named = [thing for thing in things.values() if request.get("nameContains", "") in thing[member]]
        return sorted(named, key=lambda thing: thing["creationTime"], reverse=True)

    def _found(self, things: dict[str, Any], arn: str) -> Any:
        if arn not in things:
            raise client_error("ResourceNotFoundException", f"{arn} was not found.")
        return things[arn]

    def end(self, name: str, status: str = "Completed", **described: Any) -> None:
        """Ends the import jobs of a model that are in progress; a completed one has its model then."""
        for job in self.jobs.values():
            if job["importedModelName"] == name and job["status"] == "InProgress":
                job |= {"status": status, **described}
                if status == "Completed":
                    self.add_model(name)

    def add_job(self, name: str, model: str = "", hours_old: float = 0, **described: Any) -> str:
        """An import job; its ARN."""
        arn = self._arn("model-import-job")
        named = {"jobArn": arn, "jobName": name, "importedModelName": model or name}
        self.jobs[arn] = {"status": "InProgress", "creationTime": hours_ago(hours_old), **named, **described}
        return arn

    def add_model(
        self,
        name: str = f"{PREFIX}-{RUN_ID}",
        run_id: str | None = RUN_ID,
        *,
        hours_old: float = 0,
        tags: Mapping[str, str] | None = None,
        **described: Any,
    ) -> str:
        """An imported model of a run of this stage (`run_id` None: of somebody else); its ARN."""
        arn = self._arn("imported-model")
        ours = {RUN_TAG: run_id, OWNER_TAG: PREFIX} if run_id else {}
        self.tags[arn] = {**ours, **(tags or {})}
        self.models[arn] = {
            "modelArn": arn,
            "modelName": name,
            "creationTime": hours_ago(hours_old),
            "modelArchitecture": "LlamaForCausalLM",
            "instructSupported": True,
            "customModelUnits": {"customModelUnitsPerModelCopy": 2, "customModelUnitsVersion": "v1.0"},
            **described,
        }
        return arn

    def names(self) -> list[str]:
        """Of the models there are."""
        return sorted(model["modelName"] for model in self.models.values())


class FakeAws:
    """The clients of an account, by service. S3 has JumpStart's documents, and `files` by their key."""

    def __init__(self, sagemaker: FakeSageMaker | None = None) -> None:
        self.sagemaker = sagemaker or FakeSageMaker()
        self.bedrock = FakeBedrock()
        self.files: dict[str, bytes] = {}
        self._services: dict[str, FakeService] = defaultdict(
            FakeService, sagemaker=self.sagemaker, bedrock=self.bedrock
        )
        self["s3"].answers["get_object"] = self._get_object
        self["cloudwatch"].answers["get_metric_statistics"] = {"Datapoints": []}
        self["logs"].answers["describe_log_streams"] = {"logStreams": []}
        self["stepfunctions"].answers["list_executions"] = {"executions": []}
        self["stepfunctions"].answers["describe_execution"] = {"status": "RUNNING"}
        self["ec2"].answers["describe_network_interfaces"] = {"NetworkInterfaces": []}

    def __getitem__(self, service: str) -> FakeService:
        return self._services[service]

    def messages(self) -> Iterator[str]:
        """Subject and text of each notification, as an e-mail has them."""
        for request in self["sns"].requests("publish"):
            yield f"{request['Subject']}\n{json.loads(request['Message'])['default']}"

    def _get_object(self, Bucket: str, Key: str, Range: str = "bytes=0-", **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's names
        if Key not in self.files and not (FACTS / Key).is_file():
            raise client_error("NoSuchKey")
        body = self.files[Key] if Key in self.files else (FACTS / Key).read_bytes()
        part = body[int(Range.removeprefix("bytes=").partition("-")[0]) :]
        return {"Body": io.BytesIO(part), "ETag": '"e"', "ContentLength": len(part)}
