"""Patches the emulator's Lambda: errors keep their names, layers are those installed here, a function can die, and one
that exceeds its memory does.

Not emulated: Lambda's own concurrency limits. Each function has `PARALLEL` processes at most, and further calls wait.
"""

import itertools
import json
import re
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from rehearsal.emulator.faults import Fault, Faults
from rehearsal.emulator.function_memory import limited

_REPORT = '{"status": "error", "error": str(e), "trace": traceback.format_exc()}'
_NAMED_REPORT = (
    '{"status": "error", "error": json.dumps({"errorType": type(e).__name__, "errorMessage": str(e), '
    '"stackTrace": traceback.format_tb(e.__traceback__)}), "trace": traceback.format_exc()}'
)
_DIED = "Worker process died"
_LATE = "Task timed out after "
_NOT_IMPORTED = "Worker init failed: "
_PARQUET_LAYER = "Parquet"
PARALLEL = 4
"""Without a limit, fifty uploads at once would start a process of 80 MB for each of them in every function."""

_ACCESS_KEY = re.compile(r"Credential=(\w+)/")
_READS = re.compile(rb"[\w.]+\.(Describe|Get|List)")
_callers: dict[str, lambda_runtime.Worker] = {}
"""Which process signs with an access key: each has one of its own."""
_starting = threading.local()


def install(faults: Faults, parquet_layer: Path) -> None:
    """Patches the executor. Raises `RuntimeError` if the emulator has changed and the patch does not apply."""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if script.count(_REPORT) != 1:
        raise RuntimeError("the emulator's Python worker no longer reports errors as it did in 1.5.33")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(_REPORT, _NAMED_REPORT)
    lambda_svc._resolve_layer_zip = _no_layer
    execute = lambda_svc._execute_function_warm
    turns: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(PARALLEL))

    def execute_with_names(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        name = (func.get("config") or func)["FunctionName"]
        if message := faults.take(Fault.FUNCTION_DIES, described(name, event)):
            return {"body": _exit(request_id, message), "error": True, "log": message}
        with turns[name]:
            result: dict[str, Any] = execute(_with_parquet(func, parquet_layer), event, request_id)
        if result.get("error"):
            result["body"] = _named(result["body"], request_id)
        return result

    lambda_svc._execute_function_warm = execute_with_names
    _tell_callers_apart()


def _tell_callers_apart() -> None:
    """Remembers which process has which access key, and what it is busy with."""
    spawn, invoke = lambda_runtime.Worker._spawn, lambda_runtime.Worker.invoke
    credentials, serial = lambda_runtime.execution_credentials, itertools.count()

    def spawn_known(worker: lambda_runtime.Worker) -> None:
        _starting.worker = worker
        spawn(worker)

    def invoke_known(worker: lambda_runtime.Worker, event: Any, *rest: Any, **settings: Any) -> Any:
        worker.busy_with = described(worker.func_name, event)
        with limited(worker) as watched:
            result = invoke(worker, event, *rest, **settings)
        if watched.end and (result["status"] == "ok" or result["error"] == _DIED):
            return {**result, "status": "error", "error": f"{_DIED}: {watched.end}"}
        return result

    def credentials_of_one(config: dict[str, Any]) -> dict[str, str]:
        issued: dict[str, str] = credentials(config, str(next(serial)))
        _callers[issued["AWS_ACCESS_KEY_ID"]] = _starting.worker
        return issued

    lambda_runtime.Worker._spawn, lambda_runtime.Worker.invoke = spawn_known, invoke_known
    lambda_runtime.execution_credentials = credentials_of_one


def calling(authorization: str) -> str:
    """Name and run's id of the function that signed a request with that header; "" where no function did."""
    worker = _caller(authorization)
    return worker.busy_with if worker else ""


def _caller(authorization: str) -> lambda_runtime.Worker | None:
    key = _ACCESS_KEY.search(authorization)
    return _callers.get(key.group(1)) if key else None


def mortal(application: Callable[..., Awaitable[None]], faults: Faults) -> Callable[..., Awaitable[None]]:
    """The ASGI application with the fault `function-killed`: a call is carried out, then its function is killed.

    Only calls that may change something: a process killed after one that reads leaves no more than before it.
    """

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers") or [])
        worker = _caller(headers.get(b"authorization", b"").decode())
        reads = scope.get("method") == "GET" or _READS.match(headers.get(b"x-amz-target", b""))
        if worker is None or reads or not faults.take(Fault.FUNCTION_KILLED, worker.busy_with):
            await application(scope, receive, send)
            return
        held: list[dict[str, Any]] = []

        async def hold(message: dict[str, Any]) -> None:
            held.append(message)

        await application(scope, receive, hold)
        worker._proc.kill()
        for message in held:  # no client reads it: the server requires a response to every request
            await send(message)

    return answer


def described(name: str, event: Any) -> str:
    """What faults are matched with. Of the payload only whose run it is about: the rest may name other steps."""
    given = event if isinstance(event, dict) else {}
    owner = [part.get(member, "") for part in (given, given.get("detail", {})) for member in ("run_id", "key", "input")]
    return f"{name} {' '.join(map(str, owner))}"


def _no_layer(attachment: Any) -> None:
    """The layer holds arm64 libraries of Python 3.13; here functions run with the same ones, made for this machine."""


def _with_parquet(func: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The function with `folder` in place of the Parquet layer, where it has that."""
    config = func.get("config") or func
    if not any(_PARQUET_LAYER in str(layer) for layer in config.get("Layers", [])):
        return func
    variables = config.get("Environment", {}).get("Variables", {}) | {"_LAMBDA_LAYERS_DIRS": str(folder)}
    return {**func, "config": {**config, "Environment": {"Variables": variables}}}


def _named(body: dict[str, Any], request_id: str) -> dict[str, Any]:
    """The error as Lambda reports it: the exception's own class name, which Catch and Retry compare with."""
    message = str(body["errorMessage"])
    if message.startswith(_NOT_IMPORTED):
        return {"errorType": "Runtime.ImportModuleError", "errorMessage": message.removeprefix(_NOT_IMPORTED)}
    if message.startswith(_LATE):
        return {**body, "errorMessage": f"RequestId: {request_id} Error: {message}"}
    if body["errorType"] != "Runtime.HandlerError":
        return body
    if message.startswith(_DIED):
        return _exit(request_id, message.removeprefix(f"{_DIED}: "))
    named: dict[str, Any] = json.loads(message)
    return named


def _exit(request_id: str, reason: str) -> dict[str, Any]:
    return {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request_id} Error: Runtime exited with error: {reason}",
    }
