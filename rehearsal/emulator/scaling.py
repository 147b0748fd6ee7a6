"""Application Auto Scaling, which the emulator lacks: for the instances of SageMaker's endpoints.

Not rehearsed: that anything is scaled, the alarms that target tracking sets, the trial calls by which AWS makes sure
that the caller may do what it will do.
"""

import json
import threading
from collections.abc import Callable
from typing import Any

import botocore.session

from rehearsal.emulator.request_check import constraint_violations
from rehearsal.emulator.sagemaker.errors import Refused, invalid

Answer = tuple[int, dict[str, str], bytes]
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_TARGET = "AnyScaleFrontendService."


class Scaling:
    """The scalable targets of the account with their policies, by resource id: `endpoint/<name>/variant/<variant>`."""

    def __init__(self) -> None:
        self._model = botocore.session.get_session().get_service_model("application-autoscaling")
        self._targets: dict[str, dict[str, Any]] = {}
        self._policies: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.endpoint_status: Callable[[str], str | None] = lambda name: None
        """Status of an endpoint by name, None if it does not exist. Set by the SageMaker stand-in."""

    async def handle_request(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Answer:
        """The emulator's interface of a service."""
        operation = headers.get("x-amz-target", "").removeprefix(_TARGET)
        kind = {"Content-Type": "application/x-amz-json-1.1"}
        try:
            return 200, kind, json.dumps(self._call(operation, json.loads(body or b"{}"))).encode()
        except Refused as refusal:
            return 400, kind, json.dumps({"__type": refusal.code, "message": refusal.message}).encode()

    def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        operations = {
            "RegisterScalableTarget": self._register,
            "PutScalingPolicy": self._put_policy,
            "DeregisterScalableTarget": self._deregister,
            "DescribeScalableTargets": self._describe_targets,
            "DescribeScalingPolicies": self._describe_policies,
        }
        if operation not in operations:
            raise Refused("UnknownOperationException", f"The rehearsal's Application Auto Scaling has no {operation}.")
        shape = self._model.operation_model(operation).input_shape
        if shape and (wrong := list(constraint_violations(shape, request))):
            raise invalid("; ".join(wrong))
        with self._lock:
            return operations[operation](request)

    def _register(self, request: dict[str, Any]) -> dict[str, Any]:
        resource, endpoint = _resource(request)
        known = self._targets.get(resource, {})
        low, high = (request.get(limit, known.get(limit)) for limit in ("MinCapacity", "MaxCapacity"))
        if low is None or high is None:
            raise invalid("MinCapacity and MaxCapacity are required to register a new scalable target.")
        if low > high:
            raise invalid("Minimum capacity cannot be greater than maximum capacity.")
        if (status := self.endpoint_status(endpoint)) != "InService":
            raise invalid(f"The endpoint {endpoint} is {status or 'absent'}; only one in service can be registered.")
        self._targets[resource] = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": resource,
            "ScalableDimension": DIMENSION,
            "MinCapacity": low,
            "MaxCapacity": high,
        }
        return {}

    def _put_policy(self, request: dict[str, Any]) -> dict[str, Any]:
        resource, _ = _resource(request)
        if resource not in self._targets:
            raise Refused("ObjectNotFoundException", f"No scalable target registered for {resource}.")
        tracking = request.get("TargetTrackingScalingPolicyConfiguration")
        if request.get("PolicyType") != "TargetTrackingScaling" or not tracking:
            raise invalid("The rehearsal knows policies of type TargetTrackingScaling with their configuration only.")
        self._policies[f"{resource}:{request['PolicyName']}"] = request
        return {"PolicyARN": f"arn:aws:autoscaling:::scalingPolicy:rehearsal:{request['PolicyName']}", "Alarms": []}

    def _deregister(self, request: dict[str, Any]) -> dict[str, Any]:
        resource, _ = _resource(request)
        if resource not in self._targets:
            raise Refused("ObjectNotFoundException", f"No scalable target found for {resource}.")
        self._forget(resource)
        return {}

    def _describe_targets(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("ResourceIds")
        return {"ScalableTargets": [t for r, t in self._targets.items() if wanted is None or r in wanted]}

    def _describe_policies(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("ResourceId")
        return {"ScalingPolicies": [p for p in self._policies.values() if wanted in (None, p["ResourceId"])]}

    # For the endpoints

    def require_unregistered(self, endpoint: str) -> None:
        """An update to another instance type is refused while a variant is a scalable target."""
        if self._of(endpoint):
            raise invalid(
                f"Endpoint {endpoint} has a variant with an Application Auto Scaling scalable target. Deregister it "
                "before the update changes its instance type."
            )

    def deregister_endpoint(self, endpoint: str) -> None:
        """Ends the scaling of an endpoint that is deleted, as SageMaker does."""
        with self._lock:
            for resource in self._of(endpoint):
                self._forget(resource)

    def _of(self, endpoint: str) -> list[str]:
        return [resource for resource in self._targets if resource.startswith(f"endpoint/{endpoint}/")]

    def _forget(self, resource: str) -> None:
        del self._targets[resource]
        for key in [key for key, policy in self._policies.items() if policy["ResourceId"] == resource]:
            del self._policies[key]


def authorisation_keys(body: bytes) -> dict[str, Any]:
    """The condition keys of a call, as the Service Authorization Reference names them."""
    request = json.loads(body) if body[:1] == b"{" else {}
    keys = {"service-namespace": "ServiceNamespace", "scalable-dimension": "ScalableDimension"}
    return {f"application-autoscaling:{key}": request[name] for key, name in keys.items() if name in request}


def _resource(request: dict[str, Any]) -> tuple[str, str]:
    """The resource id and the endpoint in it."""
    resource = str(request["ResourceId"])
    parts = resource.split("/")
    if (request["ServiceNamespace"], request["ScalableDimension"]) != ("sagemaker", DIMENSION):
        raise invalid("The rehearsal scales the instances of SageMaker's endpoint variants only.")
    if len(parts) != 4 or (parts[0], parts[2]) != ("endpoint", "variant"):
        raise invalid(f"Unsupported resource id {resource}: endpoint/<name>/variant/<variant> is needed.")
    return resource, parts[1]
