"""Patches the emulator's Lambda: it refuses calls as the service does, before a function runs.

A function in a VPC that nobody has called for weeks has lost its network interfaces: Lambda refuses its calls until it
has new ones. An account allows so many executions at a time: Lambda refuses those beyond.

Not emulated: that a refused asynchronous call is kept and made again for up to six hours.
"""

from typing import Any

from ministack.services import lambda_svc

from rehearsal.emulator.faults import Fault, Faults
from rehearsal.emulator.functions import described

NOT_READY = "Lambda.ResourceNotReadyException"
TOO_MANY = "TooManyRequestsException"
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


def _refused(error: str, message: str) -> dict[str, Any]:
    """Step Functions names the exception of Lambda's API as its own error."""
    return {"body": {"errorType": error, "errorMessage": message}, "error": True, "log": ""}
