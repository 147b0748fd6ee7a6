"""Runs the emulated AWS until it is stopped: `python -m rehearsal.emulator --port 4566 --state DIR …`.

It listens on 127.0.0.1 only. SIGTERM, SIGINT and, with `--with-parent`, the end of the process that started it, end it
and everything it started.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Application = Callable[..., Awaitable[None]]


def main() -> None:
    arguments = _arguments()
    state = arguments.state.resolve()
    (state / "tmp").mkdir(parents=True, exist_ok=True)
    # The emulator reads its environment while it is imported.
    os.environ.update(
        BIND_HOST="127.0.0.1",
        MINISTACK_HOST="127.0.0.1",
        GATEWAY_PORT=str(arguments.port),
        MINISTACK_REGION=arguments.region,
        AWS_DEFAULT_REGION=arguments.region,
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{arguments.port}",
        AWS_EC2_METADATA_DISABLED="true",
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        MINISTACK_ACCOUNT_ID=arguments.account,
        SFN_WAIT_SCALE=str(arguments.wait_scale),
        TMPDIR=str(state / "tmp"),
        PYTHONDONTWRITEBYTECODE="1",
    )
    os.environ.pop("PYTHONPATH", None)  # or the checkout could be imported by functions
    from ministack import app as ministack
    from ministack.core import lambda_runtime

    from rehearsal.emulator import answers, documents, extensions, functions, permissions
    from rehearsal.emulator.children import Trainer
    from rehearsal.emulator.context import EmulatorContext
    from rehearsal.emulator.sagemaker import openai_path

    context = EmulatorContext(
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        region=arguments.region,
        state=state,
        trainer=Trainer(arguments.trainer_python.absolute(), Path.cwd()),
        base_model=arguments.base_model.absolute(),
        parquet_layer=arguments.parquet_layer.absolute(),
        max_new_tokens=arguments.max_new_tokens,
    )
    services = extensions.install(context)
    application = documents.changed(permissions.checked(ministack.app), context.faults)
    application = openai_path.answering(application, context, services.sagemaker.hosting)
    application = functions.mortal(application, context.faults)
    application = answers.differing(application, context.faults)
    application = _with_controls(application, context, services)
    try:
        # Not asyncio.run, which would wait for requests that never end, such as a custom resource without a response.
        loop = asyncio.new_event_loop()
        loop.run_until_complete(_serve(application, arguments.port, os.getppid() if arguments.with_parent else None))
    finally:
        context.trainer.end_all()
        lambda_runtime.reset()
        shutil.rmtree(state / "tmp", ignore_errors=True)
        os._exit(0)  # threads of unfinished executions must not hold the process


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rehearsal.emulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="folder for what jobs, endpoints and functions write")
    parser.add_argument("--trainer-python", type=Path, required=True, help="interpreter of the trainer's environment")
    parser.add_argument("--base-model", type=Path, required=True, help="folder of the model that stands in for Llama")
    parser.add_argument("--parquet-layer", type=Path, required=True, help="folder in place of the Parquet layer")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--account", default="000000000000")
    parser.add_argument("--wait-scale", type=float, default=1.0, help="factor on the state machine's waits")
    parser.add_argument("--max-new-tokens", type=int, help="ends every answer of an endpoint there")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process ends")
    return parser.parse_args()


async def _serve(application: Any, port: int, parent: int | None) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def until_stopped() -> None:
        while not stop.is_set() and (parent is None or os.getppid() == parent):
            await asyncio.sleep(0.2)

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.accesslog = None
    await serve(application, config, shutdown_trigger=until_stopped)


def _with_controls(application: Application, context: Any, services: Any) -> Application:
    """Adds the rehearsal's own addresses, /_rehearsal/…: faults (GET, POST, DELETE), a role's sessions and other
    accounts (POST), and what can be read (GET).
    """
    from rehearsal.emulator import elsewhere, grants
    from rehearsal.emulator.permissions import denials, role_session

    def control(method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, bytes]:
        match method, path:
            case "GET", "/_rehearsal/denials":
                return 200, json.dumps(denials).encode()
            case "GET", "/_rehearsal/running":
                return 200, json.dumps(services.costing()).encode()
            case "GET", "/_rehearsal/grants":
                return 200, json.dumps(grants.listed()).encode()
            case "GET", "/_rehearsal/calls":
                return 200, json.dumps(grants.examples()).encode()
            case "GET", "/_rehearsal/faults":
                return 200, json.dumps(context.faults.happened).encode()
            case "POST", "/_rehearsal/neighbours":
                elsewhere.add_neighbour(**json.loads(body))
                return 204, b""
            case "GET", "/_rehearsal/policy":
                found = elsewhere.own_policy(query["resource"][0], services.sagemaker.group_policy)
                return (404, b"") if found is None else (200, json.dumps(found).encode())
            case "POST", "/_rehearsal/sessions":
                return 200, json.dumps(role_session(json.loads(body)["role"], "person")).encode()
            case "DELETE", "/_rehearsal/faults":
                context.faults.clear(" ".join(query.get("match", [])))
                return 204, b""
            case "POST", "/_rehearsal/faults":
                try:
                    context.faults.inject(json.loads(body))
                except (KeyError, ValueError) as error:
                    return 400, str(error).encode()
                return 204, b""
        return 404, b""

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/_rehearsal/"):
            await application(scope, receive, send)
            return
        query = parse_qs(scope["query_string"].decode())
        status, said = control(scope["method"], scope["path"], query, (await receive())["body"])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": said})

    return answer


if __name__ == "__main__":
    main()
