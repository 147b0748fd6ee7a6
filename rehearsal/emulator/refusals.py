"""Patches the emulator's Lambda: it refuses calls as the service does, before a function runs, and functions too large.
And its IAM: it refuses policies too large.

A function in a VPC that nobody has called for weeks has lost its network interfaces: Lambda refuses its calls until it
has new ones. An account allows so many executions at a time: Lambda refuses those beyond.

A function and its layers have 262,144,000 bytes at most, unpacked. A managed policy has 6,144 characters at most, white
space left out (IAM's quotas).

Not emulated: that a refused asynchronous call is kept and made again for up to six hours.
"""

import json
from typing import Any

from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from rehearsal.emulator.faults import Fault, Faults
from rehearsal.emulator.functions import described

NOT_READY = "Lambda.ResourceNotReadyException"
TOO_MANY = "TooManyRequestsException"
LONGEST_POLICY = 6_144
"""Characters of a managed policy."""
NEW_ACCOUNT = 10
"""Concurrent executions of a new account."""


def install(faults: Faults) -> None:
    dispatch = lambda_svc._execute_function_dispatch

    def dispatch_unless_refused(
        func: dict[str, Any], config: dict[str, Any], event: Any, request_id: str, started: float
    ) -> dict[str, Any]:
        call = described(config["FunctionName"], event)
        if config.get("VpcConfig", {}).get("SubnetIds") and (error := faults.take(Fault.FUNCTION_IDLE, call)):
            return _refused(error if error.startswith("Lambda.") else NOT_READY, "The function is being prepared")
        allowed = faults.peek(Fault.THROTTLED_ACCOUNT, call)
        running, _ = lambda_svc.executions_in_flight()  # this one counts
        if allowed is not None and running > (int(allowed) if allowed.isdigit() else NEW_ACCOUNT):
            faults.take(Fault.THROTTLED_ACCOUNT, call)
            refused = _refused(f"Lambda.{TOO_MANY}", "Rate Exceeded.")
            return {**refused, "throttle": True, "body": {"__type": TOO_MANY, **refused["body"]}}
        answer: dict[str, Any] = dispatch(func, config, event, request_id, started)
        return answer

    lambda_svc._execute_function_dispatch = dispatch_unless_refused


def limit_sizes() -> None:
    """Lets stacks make no function and no policy that is too large. To be called while the layers are still known."""
    functions, layer_zip = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"], lambda_svc._resolve_layer_zip
    sizes: dict[str, int] = {}

    def layer_size(layer: dict[str, Any]) -> int:
        arn = layer["Arn"]
        if arn not in sizes:
            sizes[arn] = lambda_svc._unzipped_size(layer_zip(layer))
        return sizes[arn]

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        made = functions["create"](logical_id, properties, stack)
        function = lambda_svc._functions[made[0]]
        layers = function["config"]["Layers"]
        size = lambda_svc._unzipped_size(function["code_zip"]) + sum(map(layer_size, layers))
        if size > lambda_svc._UNZIPPED_LIMIT_BYTES:
            del lambda_svc._functions[made[0]]
            limit = lambda_svc._UNZIPPED_LIMIT_BYTES
            raise ValueError(f"Function code combined with layers exceeds the maximum allowed size of {limit} bytes")
        return made

    provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"] = {**functions, "create": create}
    policies = provisioners._RESOURCE_HANDLERS["AWS::IAM::ManagedPolicy"]

    def create_policy(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        _require_fitting(properties)
        return policies["create"](logical_id, properties, stack)

    def update_policy(physical_id: str, old: dict[str, Any], new: dict[str, Any], *rest: Any, **named: Any) -> Any:
        _require_fitting(new)
        return policies["update"](physical_id, old, new, *rest, **named)

    changes = {"create": create_policy, "update": update_policy}
    provisioners._RESOURCE_HANDLERS["AWS::IAM::ManagedPolicy"] = policies | changes


def _require_fitting(policy: dict[str, Any]) -> None:
    if len(json.dumps(policy["PolicyDocument"], separators=(",", ":"))) > LONGEST_POLICY:
        raise ValueError(f"Cannot exceed quota for PolicySize: {LONGEST_POLICY}")


def _refused(error: str, message: str) -> dict[str, Any]:
    """Step Functions names the exception of Lambda's API as its own error."""
    return {"body": {"errorType": error, "errorMessage": message}, "error": True, "log": ""}
