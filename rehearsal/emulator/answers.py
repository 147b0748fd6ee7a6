"""Answers that differ from what the project assumes of AWS: the fault `answer-differs`.

Its message is a JSON object: `body`, another body; `merge`, a merge patch (RFC 7396) of a JSON answer; `replace`, pairs
of texts in the body; `headers` to set, or to leave out where the value is null; `status`.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from rehearsal.emulator.faults import Fault, Faults

Application = Callable[..., Awaitable[None]]
Message = dict[str, Any]


def differing(application: Application, faults: Faults) -> Application:
    """The ASGI application, whose answers are changed where that was asked for."""

    async def answer(scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not faults.waits(Fault.ANSWER_DIFFERS):
            await application(scope, receive, send)
            return
        body = await whole_body(receive)
        message = faults.take(Fault.ANSWER_DIFFERS, _described(scope, body))
        replayed = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(replayed, None) or await receive()

        if message is None:
            await application(scope, again, send)
            return
        held: list[Message] = []

        async def hold(event: Message) -> None:
            held.append(event)

        await application(scope, again, hold)
        status, headers, answered = _changed(json.loads(message), held)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answered})

    return answer


async def whole_body(receive: Any) -> bytes:
    """The body of an ASGI request."""
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    return body


def _described(scope: Message, body: bytes) -> str:
    """Method, path, operation and request: what faults are matched with."""
    target = dict(scope.get("headers") or []).get(b"x-amz-target", b"").decode()
    query = scope.get("query_string", b"").decode()
    return (
        f"{scope['method']} {scope['path']}?{query} {target.rpartition('.')[2]} {body[:4096].decode(errors='replace')}"
    )


def _changed(change: dict[str, Any], events: list[Message]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    start = next(event for event in events if event["type"] == "http.response.start")
    body = b"".join(event.get("body", b"") for event in events if event["type"] == "http.response.body")
    body = change["body"].encode() if "body" in change else body
    if "merge" in change:
        body = json.dumps(_merged(json.loads(body or b"{}"), change["merge"])).encode()
    for old, new in change.get("replace", []):
        body = body.replace(old.encode(), new.encode())
    headers = {name.lower(): value for name, value in start["headers"]}
    for name, value in change.get("headers", {}).items():
        headers.pop(name.lower().encode(), None)
        if value is not None:
            headers[name.lower().encode()] = value.encode()
    if b"content-length" in headers and body:
        headers[b"content-length"] = str(len(body)).encode()
    status: int = change["status"] if "status" in change else start["status"]
    return status, list(headers.items()), body


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
