"""SageMaker's two APIs over HTTP: JSON 1.1 for the control plane, REST for the runtime."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import botocore.session
from ministack.core.responses import StreamingResponse

from rehearsal.emulator import elsewhere, functions, permissions
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.faults import Fault
from rehearsal.emulator.request_check import constraint_violations
from rehearsal.emulator.sagemaker import authorisation, event_stream
from rehearsal.emulator.sagemaker.errors import Refused, invalid
from rehearsal.emulator.sagemaker.hosting import Hosting
from rehearsal.emulator.sagemaker.registry import ModelRegistry
from rehearsal.emulator.sagemaker.training import TrainingJobs
from rehearsal.emulator.sagemaker.training_plans import TrainingPlans
from rehearsal.emulator.scaling import Scaling

Answer = tuple[int, dict[str, str], bytes | StreamingResponse]
Operation = Callable[[dict[str, Any]], dict[str, Any]]
_INVOCATION = re.compile(r"/endpoints/([^/]+)/invocations(-response-stream)?")


class SageMakerService:
    """Answers every SageMaker request of the emulator."""

    def __init__(self, context: EmulatorContext, scaling: Scaling) -> None:
        self._world = context
        self._model = botocore.session.get_session().get_service_model("sagemaker")
        self._tags: dict[str, dict[str, str]] = {}
        self.hosting = hosting = Hosting(context, scaling)
        self._registry = registry = ModelRegistry(context)
        plans = TrainingPlans(context)
        self._jobs = jobs = TrainingJobs(context, plans)
        self._operations: dict[str, Operation] = {
            "CreateTrainingJob": self._tagged("TrainingJobArn", jobs.create),
            "DescribeTrainingJob": jobs.describe,
            "StopTrainingJob": jobs.stop,
            "ListTrainingJobs": _listing("TrainingJobSummaries", "TrainingJob", jobs.summaries),
            "DescribeTrainingPlan": plans.describe,
            "CreateModel": self._tagged("ModelArn", hosting.create_model),
            "DescribeModel": hosting.models.get,
            "DeleteModel": hosting.models.remove,
            "ListModels": _listing("Models", "Model", hosting.models.summaries),
            "CreateEndpointConfig": self._tagged("EndpointConfigArn", hosting.create_endpoint_config),
            "DescribeEndpointConfig": hosting.configs.get,
            "DeleteEndpointConfig": hosting.configs.remove,
            "ListEndpointConfigs": _listing("EndpointConfigs", "EndpointConfig", hosting.configs.summaries),
            "CreateEndpoint": self._tagged("EndpointArn", hosting.create_endpoint),
            "UpdateEndpoint": hosting.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": hosting.update_capacities,
            "DescribeEndpoint": hosting.describe_endpoint,
            "DeleteEndpoint": hosting.delete_endpoint,
            "ListEndpoints": _listing("Endpoints", "Endpoint", hosting.summaries),
            "CreateModelPackageGroup": self._tagged("ModelPackageGroupArn", registry.create_group),
            "DescribeModelPackageGroup": registry.describe_group,
            "DeleteModelPackageGroup": registry.delete_group,
            "ListModelPackageGroups": _listing(
                "ModelPackageGroupSummaryList", "ModelPackageGroup", registry.group_summaries
            ),
            "CreateModelPackage": registry.create_package,
            "DescribeModelPackage": registry.describe_package,
            "UpdateModelPackage": registry.update_package,
            "DeleteModelPackage": registry.delete_package,
            "PutModelPackageGroupPolicy": registry.put_policy,
            "ListModelPackages": registry.list_packages,
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
        }

    async def handle_request(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Answer:
        """The emulator's interface of a service. Answers in a thread: the checks call the emulator itself."""
        return await asyncio.to_thread(self._answer, path, headers, body)

    def costing(self) -> list[dict[str, Any]]:
        """What would cost money now, each job and endpoint with its tags."""
        things = [*self._jobs.costing(), *self.hosting.costing()]
        return [thing | {"tags": self._tags.get(thing["arn"], {})} for thing in things]

    def group_policy(self, group: str) -> str | None:
        return self._registry.policy(group)

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            invocation = _INVOCATION.fullmatch(path)
            if invocation and invocation[2]:
                pieces, kind, _ = self.hosting.invoke_with_stream(invocation[1], body, headers.get("content-type", ""))
                answered = {"Content-Type": event_stream.CONTENT_TYPE, "X-Amzn-SageMaker-Content-Type": kind}
                parts = map(event_stream.part, pieces)
                return 200, answered, StreamingResponse(lambda send, _: event_stream.send_messages(send, parts))
            if invocation:
                answer, answered = self.hosting.invoke(invocation[1], body, headers.get("content-type", ""))
                return 200, answered, answer
            operation, request = headers.get("x-amz-target", "").removeprefix("SageMaker."), json.loads(body)
            self._authorise(operation, request, headers)
            self._throttle(operation, request, headers)
            if account := elsewhere.owner_of(str(request.get("ModelPackageName", request.get("ModelPackageArn", "")))):
                return account.request("POST", path, {"x-amz-target": headers["x-amz-target"]}, body)
            return 200, {"Content-Type": "application/x-amz-json-1.1"}, _encode(self._call(operation, request))
        except Refused as refusal:
            content = {
                "__type": refusal.code,
                "message": refusal.message,
                "Message": refusal.message,
                **refusal.details,
            }
            return (
                refusal.status,
                {"Content-Type": "application/json", "x-amzn-ErrorType": refusal.code},
                _encode(content),
            )

    def _authorise(self, operation: str, request: dict[str, Any], headers: dict[str, str]) -> None:
        for action, resource, keys in authorisation.further(operation, request, self._world.region):
            if refusal := permissions.require(headers, action, resource, self._world.region, keys):
                raise Refused("AccessDeniedException", refusal)

    def _throttle(self, operation: str, request: dict[str, Any], headers: dict[str, str]) -> None:
        described = f"{operation} {json.dumps(request)} {functions.calling(headers.get('authorization', ''))}"
        if message := self._world.faults.take(Fault.THROTTLING, described):
            raise Refused("ThrottlingException", f"Rate exceeded: {message}")

    def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation not in self._operations:
            raise Refused("UnknownOperationException", f"The rehearsal's SageMaker has no {operation}.")
        shape = self._model.operation_model(operation).input_shape
        if shape and (wrong := list(constraint_violations(shape, request))):
            count = f"{len(wrong)} validation error{'s' if len(wrong) > 1 else ''} detected"
            raise invalid(f"{count}: {'; '.join(wrong)}")
        return self._operations[operation](request)

    def _tagged(self, arn_member: str, create: Operation) -> Operation:
        def create_tagged(request: dict[str, Any]) -> dict[str, Any]:
            answer = create(request)
            self._add_tags({"ResourceArn": answer[arn_member], "Tags": request.get("Tags", [])}, new=True)
            return answer

        return create_tagged

    def _add_tags(self, request: dict[str, Any], new: bool = False) -> dict[str, Any]:
        tags = {} if new else self._tags.get(request["ResourceArn"])
        if tags is None:
            raise invalid(f"Could not find resource {request['ResourceArn']}.")
        tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        if len(tags) > 50:
            raise invalid(f"Number of tags {len(tags)} exceeds the limit of 50.")
        self._tags[request["ResourceArn"]] = tags
        return {"Tags": _as_list(tags)}

    def _list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": _as_list(self._tags.get(request["ResourceArn"], {}))}


def _listing(member: str, noun: str, summaries: Callable[[], list[dict[str, Any]]]) -> Operation:
    """A List operation: newest first, by part of the name and by status, in one page of at most 100."""

    def listed(request: dict[str, Any]) -> dict[str, Any]:
        part, status = request.get("NameContains", ""), request.get("StatusEquals")
        found = [
            item
            for item in summaries()
            if part in item[f"{noun}Name"] and (status is None or item[f"{noun}Status"] == status)
        ]
        found.sort(key=lambda item: item["CreationTime"], reverse=True)
        start = int(request.get("NextToken", 0))
        size = request.get("MaxResults", 100)
        more = {"NextToken": str(start + size)} if len(found) > start + size else {}
        return {member: found[start : start + size], **more}

    return listed


def _as_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _encode(content: dict[str, Any]) -> bytes:
    def timestamp(value: Any) -> float:
        if isinstance(value, datetime):
            return value.timestamp()
        raise TypeError(type(value))

    return json.dumps(content, default=timestamp).encode()
