"""Whether Bedrock would let a judge answer, as far as that can be known without asking it."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.errors import error_code
from finetuning.bedrock.judges import foundation_model, is_profile
from finetuning.errors import Code, Finding
from finetuning.planning.judge_terms import FIELD, WITHOUT

CONNECT_SECONDS = 2
AVAILABILITY = {
    "regionAvailability": "it is not available in this region",
    "authorizationStatus": "this account is not authorised to use it",
    "entitlementAvailability": "this account has no access to it",
}
"""What GetFoundationModelAvailability says is missing, if its value is neither AVAILABLE nor AUTHORIZED."""


def is_reachable(runtime: Any) -> bool:
    """Whether the address of this boto3 client takes connections from here."""
    address = urlsplit(runtime.meta.endpoint_url)
    try:
        socket.create_connection((address.hostname, address.port or 443), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def check_access(bedrock: Any, judge: str, now: datetime) -> Iterator[Finding | str]:
    """A finding for each reason against the judge; a text for what is not known, or will change. `bedrock`: boto3's
    client of the control plane.
    """
    model = foundation_model(judge)
    try:
        if is_profile(judge):
            bedrock.get_inference_profile(inferenceProfileIdentifier=judge)
        details = bedrock.get_foundation_model(modelIdentifier=model)["modelDetails"]
        available = bedrock.get_foundation_model_availability(modelId=model)
    except ClientError as error:
        if error_code(error) in ("ResourceNotFoundException", "ValidationException"):
            said = str(error.response["Error"].get("Message", error))
            yield _finding(judge, f"Bedrock does not know it in this region: {said.removesuffix('.')}")
        else:
            yield str(error)
        return
    except BotoCoreError as error:
        yield str(error)
        return
    if "TEXT" not in details.get("outputModalities", ["TEXT"]):
        yield _finding(judge, "it writes no text")
    if not is_profile(judge) and "ON_DEMAND" not in details.get("inferenceTypesSupported", ["ON_DEMAND"]):
        yield _finding(judge, "it is called by an inference profile only, such as us." + judge)
    yield from _life(judge, details.get("modelLifecycle", {}), now)
    missing = [why for field, why in AVAILABILITY.items() if available.get(field, "").startswith("NOT_")]
    agreement = available.get("agreementAvailability", {})
    if agreement.get("status", "AVAILABLE") != "AVAILABLE":
        missing.append(f"its terms are not accepted ({agreement.get('errorMessage') or agreement['status']})")
    for why in missing:
        yield _finding(judge, why)


def _life(judge: str, lifecycle: dict[str, Any], now: datetime) -> Iterator[Finding | str]:
    end = lifecycle.get("endOfLifeTime")
    if end and end <= now:
        yield _finding(judge, f"its life ended on {end.astimezone(UTC):%Y-%m-%d}")
    elif lifecycle.get("status") == "LEGACY":
        until = f" until {end.astimezone(UTC):%Y-%m-%d}" if end else ""
        yield f"a legacy model, which AWS keeps{until}; accounts that did not use it lately may be refused"


def not_reachable(judge: str) -> Finding:
    """The finding for a network without a way to Bedrock."""
    return _finding(judge, "the stage's network has no way to Bedrock's runtime")


def _finding(judge: str, why: str) -> Finding:
    fix = f"Name another judge that the stage allows, or {WITHOUT}. The runbook says what else helps."
    return Finding(Code.JUDGE_UNUSABLE, FIELD, f"The judge {judge} cannot be asked: {why}.", fix)
