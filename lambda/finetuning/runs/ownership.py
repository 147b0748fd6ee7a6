"""Whose runs may replace an endpoint: the upload that created it, and those that its `endpoint.owners` names.

An uploader is known by the folder they may write to (`runs/<name>/`): S3's event names an account only, and IAM can
limit a team to its folders. The endpoint's tag has the names; the first is the owner's and stays until the endpoint is
deleted. Only the owner's runs change the others.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

from finetuning.errors import Code, Finding
from finetuning.runs.tags import OWNERS_TAG, RUN_TAG
from finetuning.settings import Replacement

MAX_OWNERS = 5
"""Names in `endpoint.owners`: with the upload's own they fit into the 256 characters of a tag's value."""
_PLAIN = re.compile(r"[A-Za-z0-9_.@+/-]{1,40}")


def owner_name(upload: str) -> str:
    """An upload's name as a tag can hold it. One that is long or has other characters ends in a digest, so that no two
    uploads have the same name.
    """
    if _PLAIN.fullmatch(upload):
        return upload
    readable = re.sub(r"[^a-z0-9]+", "-", upload.lower()).strip("-")[:24]
    return f"{readable}={hashlib.sha256(upload.encode()).hexdigest()[:12]}"


def owners_in(tags: Mapping[str, str]) -> list[str]:
    """The owner of an endpoint, then the others that may replace it, from its tags. Earlier versions did not tag the
    owner: it is then the name in the id of the run whose model serves.
    """
    if OWNERS_TAG in tags:
        return tags[OWNERS_TAG].split()
    return [tags[RUN_TAG].rpartition("-")[0]] if RUN_TAG in tags else []


def owners_tag(owners: Sequence[str]) -> dict[str, str]:
    return {OWNERS_TAG: " ".join(owners)}


def owners_after(owners: Sequence[str], tags: Mapping[str, str]) -> list[str]:
    """The owners of a live endpoint once a run with these `owners` has replaced its model."""
    current = owners_in(tags)
    return list(owners) if not current or current[0] == owners[0] else current


def refusal(endpoint: str, uploader: str, tags: Mapping[str, str], replacement: Replacement) -> Finding | None:
    """Why a run of `uploader` may not replace the live endpoint's model; None if it may. `replacement`: the stage's
    `endpoint_replacement`.
    """
    owners = owners_in(tags)
    if replacement == "anyone" or uploader in owners:
        return None
    owner = owners[0] if owners else "another upload"
    return Finding(
        Code.ENDPOINT_NOT_OWNED,
        "endpoint.name",
        f"The endpoint {endpoint} belongs to {owner}, and this run is of {uploader}.",
        f'Choose another endpoint.name, or ask for a run of {owner} with "endpoint": {{"owners": ["{uploader}"]}} in '
        "its run.json, or deploy the stage with `-c endpoint_replacement=anyone`.",
    )
