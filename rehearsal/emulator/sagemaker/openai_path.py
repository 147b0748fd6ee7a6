"""SageMaker's address for OpenAI's clients: `/endpoints/NAME/openai/v1/chat/completions`, called with a bearer token.

Source: AWS's developer guide, "Invoke endpoints with OpenAI-compatible APIs": the token is a signed URL of the action
CallWithBearerToken, the service checks its signature, its age and the caller's permissions, and passes body and answer
on as they are. What the guide does not say is taken as the harsher reading: status 401 for a token that is wrong or
has expired, 403 without a permission, and InvokeEndpoint's own status and words for the rest, in OpenAI's envelope.

Not rehearsed: inference components, and the end of a token with the credentials that signed it.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from ministack.core import iam_evaluator, sigv4

from rehearsal.emulator import permissions
from rehearsal.emulator.answers import Application, whole_body
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.identity import ACCOUNT, OPERATOR_SECRET
from rehearsal.emulator.sagemaker.errors import Refused
from rehearsal.emulator.sagemaker.hosting import Hosting

_PATH = re.compile(r"/endpoints/([^/]+)/openai/v1/(.*)")
_PREFIX = "Bearer sagemaker-api-key-"
_HOST = "sagemaker.amazonaws.com"
_LONGEST = timedelta(hours=12)
_SKEW = timedelta(minutes=5)


def answering(application: Application, context: EmulatorContext, hosting: Hosting) -> Application:
    """The ASGI application, with the addresses that OpenAI's clients call."""

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        found = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await application(scope, receive, send)
            return
        body = await whole_body(receive)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        try:
            name, operation = found[1], found[2]
            pieces, kind = await asyncio.to_thread(_answered, context, hosting, name, operation, headers, body)
        except Refused as refusal:
            await _send_refusal(send, refusal)
            return
        await _start(send, 200, kind)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return answer


def _answered(
    context: EmulatorContext, hosting: Hosting, name: str, operation: str, headers: dict[str, str], body: bytes
) -> tuple[Iterator[bytes], str]:
    """The container's answer and its type. Raises `Refused`."""
    caller = _caller(headers.get("authorization", ""), context.region)
    endpoint = context.arn("endpoint", name)
    for action, resource in (("sagemaker:CallWithBearerToken", "*"), ("sagemaker:InvokeEndpoint", endpoint)):
        if refusal := permissions.refusal(caller, action, resource, context.region):
            raise Refused("AccessDeniedException", refusal, status=403)
    if operation != "chat/completions":
        raise Refused("NotFound", f"SageMaker has no address /openai/v1/{operation}.", status=404)
    kind = headers.get("content-type", "")
    pieces, kind, _ = hosting.invoke_with_stream(name, body, kind, "/v1/chat/completions")
    return pieces, kind


def _caller(authorization: str, region: str) -> str:
    """The access key that signed the token. Raises `Refused` for a token that does not hold."""
    if not authorization.startswith(_PREFIX):
        raise _wrong_token("The request has no SageMaker bearer token.")
    try:
        signed = base64.b64decode(authorization.removeprefix(_PREFIX), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _wrong_token("The bearer token is not base64.") from error
    host, _, query = signed.partition("/?")
    named = parse_qs(query, keep_blank_values=True)
    if host != _HOST or named.pop("Version", None) != ["1"] or named.get("Action") != ["CallWithBearerToken"]:
        raise _wrong_token("The bearer token is not one of SageMaker's.")
    signature = sigv4.parse_query_signature(named)
    if not isinstance(signature, sigv4.HeaderSignature):
        raise _wrong_token(signature[1])
    if (signature.region, signature.service) != (region, "sagemaker"):
        raise _wrong_token(f"Credential should be scoped to {region} and sagemaker.")
    _require_valid_now(signature.amz_date, named.get("X-Amz-Expires", [""])[0])
    failure = sigv4.header_signature_failure(
        signature,
        _secret(signature.access_key_id, named.get("X-Amz-Security-Token", [""])[0]),
        "POST",
        "/",
        named,
        {"host": _HOST},
        b"",
        presigned=True,
    )
    if failure:
        raise _wrong_token(failure[1])
    return str(signature.access_key_id)


def _require_valid_now(signed_at: str, seconds: str) -> None:
    now = datetime.now(UTC)
    try:
        begin = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        lifetime = timedelta(seconds=int(seconds))
    except ValueError as error:
        raise _wrong_token("The bearer token has no date or no lifetime.") from error
    if not timedelta() < lifetime <= _LONGEST:
        raise _wrong_token("A bearer token is valid for 1 second to 12 hours.")
    if not begin - _SKEW <= now < begin + lifetime:
        raise _wrong_token("The bearer token has expired or is not yet valid.")


def _secret(access_key: str, session_token: str) -> str:
    if iam_evaluator.is_root_access_key(access_key):
        return OPERATOR_SECRET
    credential = iam_evaluator.resolve_credential(access_key, ACCOUNT, session_token)
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        raise _wrong_token(credential.message)
    return str(credential.secret_access_key)


def _wrong_token(message: str) -> Refused:
    return Refused("UnrecognizedClientException", message, status=401)


async def _send_refusal(send: Any, refusal: Refused) -> None:
    error = {"message": refusal.message, "type": refusal.code, "param": None, "code": refusal.code}
    await _start(send, refusal.status, "application/json")
    await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})


async def _start(send: Any, status: int, kind: str) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
