"""One endpoint's container: `/ping` and `/invocations` as SageMaker calls them, answers as DJL-LMI 0.29 gives them.

    python -m rehearsal.trainer.serve --model-dir FOLDER --port PORT [--host 127.0.0.1] [--max-new-tokens N] [--as-vllm]

`/ping` is 503 until the model is loaded, then 200. `/invocations` takes `{"inputs", "parameters"}` and gives
`{"generated_text"}`, with `"stream": true` as JSON lines, one a token; or takes `{"messages"}` and gives an OpenAI
chat completion, as JSON lines too. `/v1/chat/completions` is the same address (`InferenceRequestHandler.java` of DJL
Serving 0.29). Every error is `{"error", "code": 424}` with status 424. A model that cannot be loaded ends the process
with code 1.

With `--as-vllm` what goes out has the form of vLLM's server: `choices` in place of `generated_text`, a stream as
server-sent events, and a `model` that is named is unknown, for SageMaker's server has none. Other fields of a request
are read in the same form in both cases.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rehearsal.trainer.invocation import (
    RequestError,
    in_vllm_lines,
    in_vllm_words,
    respond,
    respond_in_lines,
    wants_stream,
    wants_usage,
)

if TYPE_CHECKING:
    from rehearsal.trainer.generation import Generator

logger = logging.getLogger("rehearsal.trainer")

FAILED_DEPENDENCY = 424
GRACE_SECONDS = 1


class Endpoint:
    """The HTTP application of one model folder; `failed` is set once the folder turned out not to load."""

    def __init__(self, folder: Path, max_new_tokens: int | None = None, as_vllm: bool = False) -> None:
        self.failed = asyncio.Event()
        self._folder, self._max_new_tokens, self._as_vllm = folder, max_new_tokens, as_vllm
        self._generator: Generator | None = None
        self.app = Starlette(
            routes=[
                Route("/ping", self.ping),
                *(Route(path, self.invocations, methods=["POST"]) for path in ("/invocations", "/v1/chat/completions")),
            ],
            lifespan=self._lifespan,
        )

    async def ping(self, _request: Request) -> Response:
        return Response(status_code=200 if self._generator else 503)

    async def invocations(self, request: Request) -> Response:
        if self._generator is None:
            return failure("the model is still loading")
        try:
            body = await request.json()
            if self._as_vllm and (unknown := body.get("model")):
                return _unknown_model(unknown)
            if wants_stream(body):
                lines = respond_in_lines(self._generator, body, with_usage=self._as_vllm and wants_usage(body))
                lines = in_vllm_lines(lines) if self._as_vllm else lines
                first = await run_in_threadpool(next, lines)  # what is wrong with the request shows here
                media_type = "text/event-stream" if self._as_vllm else "application/jsonlines"
                return StreamingResponse(chain([first], lines), media_type=media_type)
            answer = await run_in_threadpool(respond, self._generator, body)
            return JSONResponse(in_vllm_words(answer) if self._as_vllm else answer)
        except (RequestError, ValueError) as error:  # what json and pydantic raise are ValueErrors
            return failure(str(error))
        except Exception as error:  # the container answers every request, whatever happened
            logger.exception("the request failed")
            return failure(f"{type(error).__name__}: {error}")

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(self._load())
        yield
        loading.cancel()
        if self._generator:
            self._generator.stop()

    async def _load(self) -> None:
        started = time.monotonic()
        try:
            self._generator = await run_in_threadpool(load, self._folder, self._max_new_tokens)
        except Exception:
            logger.exception("%s cannot be loaded", self._folder)
            self.failed.set()
        else:
            logger.info("%s loaded in %.1f s", self._folder, time.monotonic() - started)


def load(folder: Path, max_new_tokens: int | None = None) -> "Generator":
    from rehearsal.trainer.generation import Generator  # torch takes seconds; /ping answers meanwhile

    return Generator(folder, max_new_tokens)


def failure(message: str) -> JSONResponse:
    return JSONResponse({"error": message, "code": FAILED_DEPENDENCY}, status_code=FAILED_DEPENDENCY)


def _unknown_model(name: str) -> JSONResponse:
    """vLLM's refusal of a name that it does not serve (`OpenAIServing` of vLLM)."""
    error = {"message": f"The model `{name}` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}
    return JSONResponse({"error": error}, status_code=404)


async def serve(endpoint: Endpoint, host: str, port: int) -> None:
    """Serves until SIGTERM, or until the model turns out not to load."""
    server = uvicorn.Server(
        uvicorn.Config(
            endpoint.app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )

    async def give_up() -> None:
        await endpoint.failed.wait()
        server.should_exit = True

    watch = asyncio.create_task(give_up())
    await server.serve()
    watch.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves one model folder as a SageMaker container does.")
    parser.add_argument("--model-dir", type=Path, required=True, help="a job's model folder, or a base model's")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--max-new-tokens", type=int, help="ends every answer there, whatever a request allows")
    parser.add_argument("--as-vllm", action="store_true", help="answers in the form of vLLM's server")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stdout)
    endpoint = Endpoint(arguments.model_dir, arguments.max_new_tokens, arguments.as_vllm)
    asyncio.run(serve(endpoint, arguments.host, arguments.port))
    sys.exit(1 if endpoint.failed.is_set() else 0)


if __name__ == "__main__":
    main()
