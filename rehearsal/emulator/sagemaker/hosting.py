"""Models, endpoint configurations and endpoints, served by the stand-in server.

A model whose data lies in JumpStart's private bucket is served by the local base model; any other by its artefact.
Not rehearsed: instances, the serving image and its environment, more than one variant, a canary's share of the traffic
and its baking time, rollbacks that an alarm sets off (the fault `rollback` is one without).
"""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rehearsal.emulator import events
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.faults import Fault
from rehearsal.emulator.identity import ACCOUNT
from rehearsal.emulator.sagemaker import checks
from rehearsal.emulator.sagemaker.errors import ENDPOINT_CAPACITY_REASON, Refused, invalid
from rehearsal.emulator.sagemaker.model_server import ANSWER_SECONDS, ModelServer, Retired
from rehearsal.emulator.scaling import Scaling

_UNHEALTHY = "did not pass the ping health check"
_PIECE_BYTES = 48
"""Short, so that lines are cut: SageMaker promises no more than bytes in their order."""


class Catalogue:
    """The resources of one kind by name: models, or endpoint configurations. None can be changed."""

    def __init__(self, context: EmulatorContext, noun: str, arn_kind: str, words: str) -> None:
        self._world, self._noun, self._kind, self._words = context, noun, arn_kind, words
        self._things: dict[str, dict[str, Any]] = {}

    def add(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request[f"{self._noun}Name"]
        arn = self._world.arn(self._kind, name)
        if name in self._things:
            raise invalid(f'Cannot create already existing {self._words} "{arn}".')
        kept = {key: value for key, value in request.items() if key != "Tags"}
        self._things[name] = {**kept, f"{self._noun}Arn": arn, "CreationTime": datetime.now(UTC)}
        return {f"{self._noun}Arn": arn}

    def get(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request[f"{self._noun}Name"]
        if name not in self._things:
            raise invalid(f'Could not find {self._words} "{self._world.arn(self._kind, name)}".')
        return self._things[name]

    def remove(self, request: dict[str, Any]) -> dict[str, Any]:
        self.get(request)
        del self._things[request[f"{self._noun}Name"]]
        return {}

    def summaries(self) -> list[dict[str, Any]]:
        members = (f"{self._noun}Name", f"{self._noun}Arn", "CreationTime")
        return [{member: thing[member] for member in members} for thing in self._things.values()]


class _NoCapacity(Exception):
    """AWS has no instance of any type that the endpoint may take."""


class _Endpoint:
    """One endpoint: what DescribeEndpoint answers, and the server behind it."""

    def __init__(self, context: EmulatorContext, request: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        self.name = str(request["EndpointName"])
        self.server: ModelServer | None = None
        self.variant = ""
        """The name of the variant that the server stands for."""
        self.hidden_until = 0.0
        """While an update is hidden, on the monotonic clock, `as_before` is shown."""
        self.as_before: dict[str, Any] = {}
        self.capture: dict[str, Any] = {}
        """The `DataCaptureConfig` by which it stores calls; empty if it stores none."""
        self.fleet: dict[str, Any] = {}
        """`instance_type` and `instances` of the configuration that was last asked for."""
        self.description: dict[str, Any] = {
            "EndpointName": self.name,
            "EndpointArn": context.arn("endpoint", self.name),
            "EndpointConfigName": request["EndpointConfigName"],
            "EndpointStatus": "Creating",
            "CreationTime": now,
            "LastModifiedTime": now,
        }

    def enter(self, status: str, **changes: Any) -> None:
        self.description |= {"EndpointStatus": status, "LastModifiedTime": datetime.now(UTC), **changes}
        events.endpoint_changed(self.description)

    def grow_older(self, by: timedelta) -> None:
        for member in ("CreationTime", "LastModifiedTime"):
            self.description[member] -= by


class Hosting:
    """The models, configurations and endpoints of the account."""

    def __init__(self, context: EmulatorContext, scaling: Scaling) -> None:
        self._world = context
        self._scaling = scaling
        scaling.endpoint_status = self._status
        self.models = Catalogue(context, "Model", "model", "model")
        self.configs = Catalogue(context, "EndpointConfig", "endpoint-config", "endpoint configuration")
        self._endpoints: dict[str, _Endpoint] = {}

    def create_model(self, request: dict[str, Any]) -> dict[str, Any]:
        checks.role_can_be_assumed(self._world, request.get("ExecutionRoleArn", ""))
        checks.network_exists(self._world, request.get("VpcConfig"))
        source = _model_source(request)
        if not source["S3Uri"].endswith("/"):
            raise invalid(f"S3Uri {source['S3Uri']} of an uncompressed model must end in a forward slash.")
        accepted = source.get("ModelAccessConfig", {}).get("AcceptEula", False)
        as_role = self._world.client("s3", request["ExecutionRoleArn"])
        if checks.is_gated(source["S3Uri"]):
            checks.gated_object_opens(self._world, source["S3Uri"], accepted, "ModelAccessConfig.AcceptEula")
        elif reason := checks.has_objects(as_role, source["S3Uri"]):
            raise invalid(f"Could not find model data at {source['S3Uri']}: {reason}")
        return self.models.add(request)

    def create_endpoint_config(self, request: dict[str, Any]) -> dict[str, Any]:
        for variant in request["ProductionVariants"]:
            self.models.get({"ModelName": variant.get("ModelName", "")})
            if ("InstanceType" in variant) == ("InstancePools" in variant):
                raise invalid("ProductionVariants need either an InstanceType or InstancePools.")
            for pool in _pools(variant):
                self.models.get({"ModelName": pool.get("ModelNameOverride", variant.get("ModelName", ""))})
                checks.volume_key_fits(pool["InstanceType"], request.get("KmsKeyId"), "KmsKeyId")
        return self.configs.add(request)

    def create_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["EndpointName"] in self._endpoints:
            arn = self._world.arn("endpoint", request["EndpointName"])
            raise invalid(f'Cannot create already existing endpoint "{arn}".')
        fleet = self._fleet(request["EndpointConfigName"])
        self._check_quota(fleet)
        endpoint = self._endpoints[request["EndpointName"]] = _Endpoint(self._world, request)
        endpoint.fleet = fleet
        arguments = (endpoint, request["EndpointConfigName"], fleet)
        threading.Thread(target=self._deploy, args=arguments, daemon=True).start()
        return {"EndpointArn": endpoint.description["EndpointArn"]}

    def update_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint, fleet = self._endpoint(request), self._fleet(request["EndpointConfigName"])
        if request.get("RetainAllVariantProperties"):
            fleet["instances"] = endpoint.fleet["instances"]
        if endpoint.description["EndpointStatus"] == "Failed":
            # By the service model "DeleteEndpoint is the only operation that can be performed on a failed endpoint".
            raise invalid(f'Cannot update failed endpoint "{endpoint.description["EndpointArn"]}".')
        if endpoint.description["EndpointStatus"] != "InService":
            raise invalid(f'Cannot update in-progress endpoint "{endpoint.description["EndpointArn"]}".')
        checks.guardrails_hold(self._world, request.get("DeploymentConfig", {}), fleet["instances"])
        if fleet["instance_type"] != endpoint.fleet["instance_type"]:
            self._scaling.require_unregistered(endpoint.name)
        seconds = self._world.faults.number(Fault.UPDATE_LATE, endpoint.name, default=3)
        endpoint.hidden_until = time.monotonic() + (seconds or 0)
        endpoint.as_before = {**endpoint.description, "LastModifiedTime": datetime.now(UTC)}
        pending = {"EndpointConfigName": request["EndpointConfigName"], "StartTime": datetime.now(UTC)}
        endpoint.enter("Updating", PendingDeploymentSummary=pending)
        if "DeploymentConfig" in request:
            endpoint.description["LastDeploymentConfig"] = request["DeploymentConfig"]
        arguments = (endpoint, request["EndpointConfigName"], fleet)
        threading.Thread(target=self._deploy, args=arguments, daemon=True).start()
        return {"EndpointArn": endpoint.description["EndpointArn"]}

    def update_capacities(self, request: dict[str, Any]) -> dict[str, Any]:
        """UpdateEndpointWeightsAndCapacities, by which autoscaling changes a fleet; here it is done at once."""
        endpoint, (wanted,) = self._endpoint(request), request["DesiredWeightsAndCapacities"]
        endpoint.fleet["instances"] = count = wanted["DesiredInstanceCount"]
        (variant,) = endpoint.description["ProductionVariants"]
        variant |= {"CurrentInstanceCount": count, "DesiredInstanceCount": count}
        return {"EndpointArn": endpoint.description["EndpointArn"]}

    def describe_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint(request)
        return endpoint.as_before if time.monotonic() < endpoint.hidden_until else endpoint.description

    def delete_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint(request)
        if endpoint.description["EndpointStatus"] in {"Creating", "Updating", "RollingBack", "Deleting"}:
            raise invalid(f'Cannot update in-progress endpoint "{endpoint.description["EndpointArn"]}".')
        self._scaling.deregister_endpoint(endpoint.name)
        if seconds := self._world.faults.number(Fault.DELETING_COUNTS, endpoint.name, default=5):
            endpoint.enter("Deleting")
            threading.Timer(seconds, self._remove, (endpoint,)).start()
        else:
            self._remove(endpoint)
        return {}

    def _remove(self, endpoint: _Endpoint) -> None:
        del self._endpoints[endpoint.name]
        if endpoint.server:
            endpoint.server.stop()

    def summaries(self) -> list[dict[str, Any]]:
        members = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        return [{member: e.description[member] for member in members} for e in self._endpoints.values()]

    def costing(self) -> Iterator[dict[str, Any]]:
        """Every endpoint there is; a failed one too, for that SageMaker bills none for it is nowhere promised."""
        for endpoint in list(self._endpoints.values()):
            described = endpoint.description
            named = {"kind": "endpoint", "name": endpoint.name, "arn": described["EndpointArn"]}
            yield {**named, "status": described["EndpointStatus"], **endpoint.fleet}

    def invoke(self, name: str, body: bytes, content_type: str) -> tuple[bytes, dict[str, str]]:
        """The container's answer and the runtime's headers; refuses as the runtime does where it has none."""
        parts, kind, variant = self.invoke_with_stream(name, body, content_type)
        return b"".join(parts), {"Content-Type": kind, "x-Amzn-Invoked-Production-Variant": variant}

    def invoke_with_stream(
        self, name: str, body: bytes, content_type: str, path: str = "/invocations"
    ) -> tuple[Iterator[bytes], str, str]:
        """The container's answer at that path as it comes, in pieces that need not be lines, its type, and the
        variant's name.
        """
        while True:
            endpoint = self._endpoints.get(name)
            server = endpoint.server if endpoint else None
            if endpoint is None or server is None:
                raise Refused("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
            # A server that was replaced since it was looked up takes no more calls: the next one is asked.
            with contextlib.suppress(Retired), contextlib.ExitStack() as answering:
                answering.enter_context(server.answering())
                self._count_invocation(endpoint)
                answer = self._ask(server, path, body, content_type)
                pieces = self._relayed(endpoint, body, answer, answering.pop_all())
                return pieces, answer.headers["Content-Type"], endpoint.variant

    def _ask(self, server: ModelServer, path: str, body: bytes, content_type: str) -> Any:
        headers = {"Content-Type": content_type}
        invocation = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", body, headers)
        try:
            return urllib.request.urlopen(invocation, timeout=ANSWER_SECONDS)  # noqa: S310 — our own server
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise _model_error(error.code, said) from error
        except OSError as error:
            raise _model_error(500, f"no answer from the container: {error}") from error

    def _relayed(
        self, endpoint: _Endpoint, body: bytes, answer: Any, answering: contextlib.ExitStack
    ) -> Iterator[bytes]:
        """The pieces of an answer. While they come its server is not stopped; at their end the call is captured."""
        said = bytearray()
        with answering, answer:
            while piece := answer.read1(_PIECE_BYTES):
                said += piece
                yield piece
            self._capture(endpoint, body, bytes(said))

    def _status(self, name: str) -> str | None:
        endpoint = self._endpoints.get(name)
        return str(endpoint.description["EndpointStatus"]) if endpoint else None

    def _endpoint(self, request: dict[str, Any]) -> _Endpoint:
        if endpoint := self._endpoints.get(request["EndpointName"]):
            in_service = endpoint.description["EndpointStatus"] == "InService"
            if in_service and (hours := self._world.faults.take(Fault.ENDPOINT_AGES, endpoint.name)):
                endpoint.grow_older(timedelta(hours=float(hours)))
            return endpoint
        raise invalid(f'Could not find endpoint "{self._world.arn("endpoint", request["EndpointName"])}".')

    def _variant(self, config_name: str) -> dict[str, Any]:
        """The configuration's only variant."""
        variant: dict[str, Any] = self.configs.get({"EndpointConfigName": config_name})["ProductionVariants"][0]
        return variant

    def _fleet(self, config_name: str) -> dict[str, Any]:
        variant = self._variant(config_name)
        return {
            "instance_type": _pools(variant)[0]["InstanceType"],
            "instances": variant.get("InitialInstanceCount", 1),
        }

    def _check_quota(self, fleet: dict[str, Any]) -> None:
        fleets = [endpoint.fleet for endpoint in self._endpoints.values()]
        running = sum(each["instances"] for each in fleets if each["instance_type"] == fleet["instance_type"])
        checks.quota_allows(self._world, fleet["instance_type"], "endpoint usage", fleet["instances"], running)

    def _deploy(self, endpoint: _Endpoint, config_name: str, fleet: dict[str, Any]) -> None:
        """Brings the configuration's server up beside the old one, then swaps; a failed update keeps the old one."""
        faults, before = self._world.faults, endpoint.server
        try:
            if message := faults.take(Fault.ENDPOINT_FAILS, endpoint.name):
                raise RuntimeError(message)
            if before and (message := faults.take(Fault.ROLLBACK, endpoint.name)):
                raise RuntimeError(message)
            faults.hold(Fault.ENDPOINT_HANGS, endpoint.name).wait()
            pool = self._pool_with_capacity(endpoint, config_name)
            fleet = fleet | {"instance_type": pool["InstanceType"]}
            server = self._serve(endpoint.name, pool)
        except Exception as error:  # noqa: BLE001 — SageMaker reports whatever happened as the endpoint's reason
            variant = self._variant(config_name)["VariantName"]
            reason = f"The primary container for production variant {variant} {_UNHEALTHY}: {error}"
            if isinstance(error, _NoCapacity):
                reason = ENDPOINT_CAPACITY_REASON
            endpoint.description.pop("PendingDeploymentSummary", None)
            if before:
                endpoint.enter("RollingBack")
                endpoint.enter("InService", FailureReason=f"The update was rolled back: {reason}"[:1024])
            else:
                endpoint.enter("Failed", FailureReason=reason[:1024])
            return
        endpoint.variant = self._variant(config_name)["VariantName"]
        endpoint.server, endpoint.fleet, count = server, fleet, fleet["instances"]
        if not (before and faults.take(Fault.CAPTURE_KEPT, endpoint.name)):
            endpoint.capture = self.configs.get({"EndpointConfigName": config_name}).get("DataCaptureConfig", {})
        live = {"VariantName": endpoint.variant, "CurrentInstanceCount": count, "DesiredInstanceCount": count}
        if "InstancePools" in self._variant(config_name):
            live["InstancePools"] = [{"InstanceType": fleet["instance_type"], "CurrentInstanceCount": count}]
        for member in ("FailureReason", "PendingDeploymentSummary", "DataCaptureConfig"):
            endpoint.description.pop(member, None)
        endpoint.description |= _capture_summary(endpoint.capture)
        endpoint.enter("InService", EndpointConfigName=config_name, ProductionVariants=[live])
        if before:
            before.stop()

    def _pool_with_capacity(self, endpoint: _Endpoint, config_name: str) -> dict[str, Any]:
        """The first of the configuration's instance pools, by priority, whose type has capacity."""
        variant = self._variant(config_name)
        for pool in _pools(variant):
            if not self._world.faults.take(Fault.ENDPOINT_NO_CAPACITY, f"{endpoint.name} {pool['InstanceType']}"):
                return {"ModelNameOverride": variant["ModelName"], **pool}
        raise _NoCapacity

    def _serve(self, endpoint_name: str, pool: dict[str, Any]) -> ModelServer:
        model = self.models.get({"ModelName": pool["ModelNameOverride"]})
        _require_additional_models(model["PrimaryContainer"])
        as_vllm = self._world.faults.take(Fault.VLLM_ANSWERS, endpoint_name) is not None
        server = ModelServer(self._world, str(model["ModelName"]), self._fetch(model), as_vllm)
        server.wait_until_ready()
        return server

    def _fetch(self, model: dict[str, Any]) -> Path:
        """The model's artefact as a local folder, read with the model's role."""
        uri = _model_source(model)["S3Uri"]
        if checks.is_gated(uri):
            return self._world.base_model
        folder = self._world.state / "models" / str(model["ModelName"])
        s3 = self._world.client("s3", model["ExecutionRoleArn"])
        bucket, prefix = checks.split_uri(uri)
        for key in checks.objects(s3, uri):
            target = folder / key.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, key, str(target))
        return folder

    def _capture(self, endpoint: _Endpoint, body: bytes, answer: bytes) -> None:
        """Keeps call and answer where the configuration asks for it, as the model's role: a file for each call."""
        try:
            config = self.configs.get({"EndpointConfigName": endpoint.description["EndpointConfigName"]})
        except Refused:  # the configuration of a serving endpoint may be gone
            return
        capture = endpoint.capture
        if not capture.get("EnableCapture"):
            return
        variant = config["ProductionVariants"][0]
        role = self.models.get({"ModelName": variant["ModelName"]})["ExecutionRoleArn"]
        bucket, prefix = checks.split_uri(capture["DestinationS3Uri"])
        now, event = datetime.now(UTC), str(uuid.uuid4())
        kept = {
            "captureData": {
                "endpointInput": {"mode": "INPUT", "data": body.decode(), "encoding": "JSON"},
                "endpointOutput": {"mode": "OUTPUT", "data": answer.decode(), "encoding": "JSON"},
            },
            "eventMetadata": {"eventId": event, "inferenceTime": now.strftime("%Y-%m-%dT%H:%M:%SZ")},
            "eventVersion": "0",
        }
        self._world.client("s3", role).put_object(
            Bucket=bucket,
            Key=f"{prefix.rstrip('/')}/{endpoint.name}/{variant['VariantName']}/{now:%Y/%m/%d/%H}/{event}.jsonl",
            Body=json.dumps(kept).encode() + b"\n",
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=capture["KmsKeyId"],
        )

    def _count_invocation(self, endpoint: _Endpoint) -> None:
        names = {"EndpointName": endpoint.name, "VariantName": endpoint.variant}
        dimensions = [{"Name": name, "Value": value} for name, value in names.items()]
        metric = {"MetricName": "Invocations", "Dimensions": dimensions, "Value": 1.0, "Unit": "None"}
        self._world.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=[metric])


def _pools(variant: dict[str, Any]) -> list[dict[str, Any]]:
    """The variant's instance pools in order of priority; one of its instance type if it has none."""
    pools = variant.get("InstancePools", [{"InstanceType": variant.get("InstanceType"), "Priority": 1}])
    return sorted(pools, key=lambda pool: int(pool["Priority"]))


def _capture_summary(capture: dict[str, Any]) -> dict[str, Any]:
    """What DescribeEndpoint says of an endpoint's data capture: nothing if it has none."""
    if not capture:
        return {}
    shown = {member: capture[member] for member in ("EnableCapture", "DestinationS3Uri", "KmsKeyId")}
    percentage = capture["InitialSamplingPercentage"]
    return {"DataCaptureConfig": shown | {"CaptureStatus": "Started", "CurrentSamplingPercentage": percentage}}


def _model_source(request: dict[str, Any]) -> dict[str, Any]:
    try:
        source: dict[str, Any] = request["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    except KeyError as error:
        raise invalid("The rehearsal serves models of one container with a ModelDataSource.S3DataSource.") from error
    return source


def _require_additional_models(container: dict[str, Any]) -> None:
    """Raises `RuntimeError`, as the container ends, when its environment names a draft model that is not mounted."""
    draft = container.get("Environment", {}).get("OPTION_SPECULATIVE_DRAFT_MODEL", "")
    mounted = [source["ChannelName"] for source in container.get("AdditionalModelDataSources", [])]
    if draft and Path(draft).name not in mounted:
        raise RuntimeError(f"the speculative draft model {draft} does not exist")


def _model_error(status: int, message: str) -> Refused:
    words = f'Received {"client" if status < 500 else "server"} error ({status}) from primary with message "{message}".'
    return Refused("ModelError", words, status=424, OriginalStatusCode=status, OriginalMessage=json.dumps(message))
