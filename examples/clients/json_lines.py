"""Lets OpenAI's client read the streams of a DJL LMI container, which JumpStart uses for Llama.

The container streams JSON lines, one per chunk. OpenAI's client reads server-sent events and ignores everything else:
without this module its stream is empty, without an error.
"""

from collections.abc import Iterator

from openai import DefaultHttpxClient

try:
    import httpx2 as httpx  # of openai 3 and later
except ImportError:
    import httpx


def http_client() -> DefaultHttpxClient:
    """For `OpenAI(http_client=…)`. Other responses are not changed."""
    return DefaultHttpxClient(event_hooks={"response": [_as_events]})


def _as_events(response: httpx.Response) -> None:
    if response.headers.get("content-type", "").startswith("application/jsonlines"):
        response.stream = _Events(response.stream)


class _Events(httpx.SyncByteStream):
    """Each line of a stream as an event, and the event that ends a stream."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        for piece in self._stream:
            *lines, rest = (rest + piece).split(b"\n")
            yield from (b"data: " + line + b"\n\n" for line in lines if line)
        yield (b"data: " + rest + b"\n\n" if rest else b"") + b"data: [DONE]\n\n"

    def close(self) -> None:
        self._stream.close()
