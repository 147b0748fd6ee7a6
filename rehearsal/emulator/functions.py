"""Mends to the emulator's Lambda: errors keep their names, layers are the ones installed here, a function can die."""

import json
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from rehearsal.emulator.faults import Fault, Faults

_REPORT = '{"status": "error", "error": str(e), "trace": traceback.format_exc()}'
_NAMED_REPORT = (
    '{"status": "error", "error": json.dumps({"errorType": type(e).__name__, "errorMessage": str(e), '
    '"stackTrace": traceback.format_tb(e.__traceback__)}), "trace": traceback.format_exc()}'
)
_DIED = "Worker process died"
_NOT_IMPORTED = "Worker init failed: "
_PANDAS_LAYER = ":layer:AWSSDKPandas-"


def install(faults: Faults, pandas_layer: Path) -> None:
    """Mends the executor. Raises `RuntimeError` where the emulator no longer has what is mended."""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if script.count(_REPORT) != 1:
        raise RuntimeError("the emulator's Python worker no longer reports errors as it did in 1.5.33")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(_REPORT, _NAMED_REPORT)
    lambda_svc._resolve_layer_zip = _no_layer
    execute = lambda_svc._execute_function_warm

    def execute_with_names(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        name = (func.get("config") or func)["FunctionName"]
        if message := faults.take(Fault.FUNCTION_DIES, name):
            return {"body": _exit(request_id, message), "error": True, "log": message}
        result: dict[str, Any] = execute(_with_pandas(func, pandas_layer), event, request_id)
        if result.get("error"):
            result["body"] = _named(result["body"], request_id)
        return result

    lambda_svc._execute_function_warm = execute_with_names


def _no_layer(attachment: Any) -> None:
    """The layer holds arm64 libraries of Python 3.13; here functions run with the same ones, made for this machine."""


def _with_pandas(func: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The function with `folder` in place of AWS's managed pandas layer, where it has that."""
    config = func.get("config") or func
    if not any(_PANDAS_LAYER in str(layer) for layer in config.get("Layers", [])):
        return func
    variables = config.get("Environment", {}).get("Variables", {}) | {"_LAMBDA_LAYERS_DIRS": str(folder)}
    return {**func, "config": {**config, "Environment": {"Variables": variables}}}


def _named(body: dict[str, Any], request_id: str) -> dict[str, Any]:
    """The error as Lambda reports it: the exception's own class name, which Catch and Retry compare with."""
    message = str(body["errorMessage"])
    if message.startswith(_NOT_IMPORTED):
        return {"errorType": "Runtime.ImportModuleError", "errorMessage": message.removeprefix(_NOT_IMPORTED)}
    if body["errorType"] != "Runtime.HandlerError":
        return body
    if message == _DIED:
        return _exit(request_id, "exit status 1")
    named: dict[str, Any] = json.loads(message)
    return named


def _exit(request_id: str, reason: str) -> dict[str, Any]:
    return {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request_id} Error: Runtime exited with error: {reason}",
    }
