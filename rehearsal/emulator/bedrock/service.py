"""Bedrock's two APIs over HTTP, for imported models and judges; everything else is left to the emulator's own."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import botocore.session
from ministack.core.responses import StreamingResponse
from ministack.services import bedrock, bedrock_runtime

from rehearsal.emulator import functions, permissions
from rehearsal.emulator.bedrock import authorisation, converse
from rehearsal.emulator.bedrock.converse import Event
from rehearsal.emulator.bedrock.imports import Imports
from rehearsal.emulator.bedrock.judges import JudgeRuntime
from rehearsal.emulator.bedrock.runtime import ImportedModelRuntime
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.faults import Fault
from rehearsal.emulator.request_check import constraint_violations
from rehearsal.emulator.sagemaker import event_stream
from rehearsal.emulator.sagemaker.errors import Refused

Answer = tuple[int, dict[str, str], bytes | StreamingResponse]
_INVOCATION = re.compile(
    r"/model/(arn:aws:bedrock:[^/]+:imported-model/[a-z0-9]+)"
    r"/(invoke|invoke-with-response-stream|converse|converse-stream)"
)
_JUDGING = re.compile(r"/model/([^/]+)/converse")
_THINGS = re.compile(r"/(model-import-jobs|imported-models)(?:/(.+))?")


class BedrockService:
    """Answers the requests about imported models, and those to judges."""

    def __init__(self, context: EmulatorContext) -> None:
        self._world = context
        self._model = botocore.session.get_session().get_service_model("bedrock")
        self.imports = Imports(context)
        self._runtime = ImportedModelRuntime(context, self.imports)
        self._judges = JudgeRuntime(context)

    async def handle_control(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Any:
        """The emulator's interface of a service. Answers in a thread: the checks call the emulator itself."""
        operation = self._operation(method, unquote(path))
        if operation is None:
            return await bedrock.handle_request(method, path, headers, body, query_params)
        name, call = operation
        return await asyncio.to_thread(self._answer, name, call, headers, body, query_params)

    async def handle_runtime(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Any:
        if method == "POST" and (asked := _JUDGING.fullmatch(unquote(path))):
            return await asyncio.to_thread(self._converse, asked[1], headers, body)
        invocation = _INVOCATION.fullmatch(unquote(path))
        if method != "POST" or invocation is None:
            return await bedrock_runtime.handle_request(method, path, headers, body, query_params)
        return await asyncio.to_thread(self._invoke, invocation[1], invocation[2], headers, body)

    def knowing_tags(self, tags_of: Callable[[str], Any]) -> Callable[[str], Any]:
        """What IAM takes a resource's tags from, with those of jobs and models."""
        return lambda arn: self.imports.tags[arn] if arn in self.imports.tags else tags_of(arn)

    def costing(self) -> list[dict[str, Any]]:
        return list(self.imports.costing())

    def _operation(self, method: str, path: str) -> tuple[str, Callable[[dict[str, Any], dict[str, Any]], Any]] | None:
        """The operation's name, and what answers its body and its query; None for one of somebody else's."""
        imports = self.imports
        match method, path:
            case "POST", "/model-import-jobs":
                return "CreateModelImportJob", lambda request, _: imports.create(request)
            case "POST", "/tagResource" | "/tagResource/":
                return "TagResource", lambda request, _: imports.tag(request)
            case "POST", "/listTagsForResource" | "/listTagsForResource/":
                return "ListTagsForResource", lambda request, _: imports.list_tags(request)
        thing = _THINGS.fullmatch(path)
        match method, thing and thing[1], thing and thing[2]:
            case "GET", "model-import-jobs", None:
                return "ListModelImportJobs", lambda _, query: imports.list_jobs(query)
            case "GET", "model-import-jobs", str(identifier):
                return "GetModelImportJob", lambda *_: imports.describe_job(identifier)
            case "GET", "imported-models", None:
                return "ListImportedModels", lambda _, query: imports.list_models(query)
            case "GET", "imported-models", str(identifier):
                return "GetImportedModel", lambda *_: imports.describe_model(identifier)
            case "DELETE", "imported-models", str(identifier):
                return "DeleteImportedModel", lambda *_: self._delete(identifier)
        return None

    def _delete(self, identifier: str) -> dict[str, Any]:
        arn = self.imports.describe_model(identifier)["modelArn"]
        answer = self.imports.delete_model(arn)
        self._runtime.unload(arn)
        return answer

    def _answer(
        self, operation: str, call: Callable[..., Any], headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Answer:
        request = json.loads(body) if body[:1] == b"{" else {}
        try:
            described = (
                f"{operation} {json.dumps(request)} {query} {functions.calling(headers.get('authorization', ''))}"
            )
            for action, resource, keys in authorisation.further(operation, request, self._world.region):
                if refusal := permissions.require(headers, action, resource, self._world.region, keys):
                    raise Refused("AccessDeniedException", refusal, status=403)
            if message := self._world.faults.take(Fault.THROTTLING, described):
                raise Refused("ThrottlingException", f"Rate exceeded: {message}", status=429)
            shape = self._model.operation_model(operation).input_shape
            if operation == "CreateModelImportJob" and (wrong := list(constraint_violations(shape, request))):
                raise Refused("ValidationException", "; ".join(wrong))
            answer = call(request, query)
        except Refused as refusal:
            return _refused(refusal)
        created = 201 if operation == "CreateModelImportJob" else 200
        return created, {"Content-Type": "application/json"}, json.dumps(answer, default=_timestamp).encode()

    def _invoke(self, arn: str, how: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            if how.startswith("converse"):
                converse.require_valid(arn, json.loads(body))
            match how:
                case "invoke":
                    return 200, {"Content-Type": "application/json"}, self._runtime.invoke(arn, body)
                case "converse":
                    return 200, {"Content-Type": "application/json"}, self._runtime.converse(arn, body)
                case "converse-stream":
                    events = self._runtime.converse_with_stream(arn, body)
                case _:
                    events = self._runtime.invoke_with_stream(arn, body)
        except Refused as refusal:
            return _refused(refusal)
        answered = {"Content-Type": event_stream.CONTENT_TYPE, "X-Amzn-Bedrock-Content-Type": "application/json"}
        return 200, answered, _stream(events)

    def _converse(self, judge: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            for resource, keys in self._judges.resources(judge):
                if denied := permissions.require(headers, "bedrock:InvokeModel", resource, self._world.region, keys):
                    raise Refused("AccessDeniedException", denied, status=403)
            caller = functions.calling(headers.get("authorization", ""))
            answer = self._judges.converse(judge, json.loads(body), caller)
        except Refused as refusal:
            return _refused(refusal)
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


def _stream(events: Iterator[Event]) -> StreamingResponse:
    framed = (event_stream.event(kind, json.dumps(content).encode()) for kind, content in events)
    return StreamingResponse(lambda send, _: event_stream.send_messages(send, framed))


def _refused(refusal: Refused) -> Answer:
    content = {"__type": refusal.code, "message": refusal.message, **refusal.details}
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": refusal.code}
    return refusal.status, headers, json.dumps(content).encode()


def _timestamp(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value))
