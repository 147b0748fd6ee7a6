"""AWS's event-stream framing, in which InvokeEndpointWithResponseStream and Bedrock's streams answer.

A message is its total and its headers' length, a checksum of these, the headers, the payload, and a checksum of it
all; source: the Smithy specification, "Amazon event stream".
"""

import asyncio
import struct
from binascii import crc32
from collections.abc import Iterator
from typing import Any

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7
"""A header's type."""


def part(piece: bytes) -> bytes:
    """A PayloadPart event."""
    return _message(
        piece, {":message-type": "event", ":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
    )


def event(kind: str, content: bytes) -> bytes:
    """An event of Bedrock's streams; `content`: JSON."""
    return _message(content, {":message-type": "event", ":event-type": kind, ":content-type": "application/json"})


def failure(message: str) -> bytes:
    """A ModelStreamError: the container broke off."""
    body = b'{"Message": "%s", "ErrorCode": "StreamBroken"}' % message.replace('"', "'").encode()
    return _message(
        body, {":message-type": "exception", ":exception-type": "ModelStreamError", ":content-type": "application/json"}
    )


def _message(payload: bytes, headers: dict[str, str]) -> bytes:
    encoded = b"".join(
        struct.pack(f"!B{len(name)}sBH", len(name), name.encode(), _STRING, len(value)) + value.encode()
        for name, value in headers.items()
    )
    start = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    start += struct.pack("!I", crc32(start))
    whole = start + encoded + payload
    return whole + struct.pack("!I", crc32(whole))


async def send_messages(send: Any, messages: Iterator[bytes]) -> None:
    """Sends each message as it comes, and ends the response."""
    try:
        while (message := await asyncio.to_thread(next, messages, None)) is not None:
            await send({"type": "http.response.body", "body": message, "more_body": True})
    except OSError as error:
        await send({"type": "http.response.body", "body": failure(str(error)), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
