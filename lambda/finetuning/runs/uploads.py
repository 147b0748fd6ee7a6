"""The run that an upload starts. An event that is delivered twice gives the same run id."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from finetuning.datasets.formats import SUFFIXES
from finetuning.errors import Code, FineTuningError
from finetuning.runs.layout import INBOX, RUN_FILE, RUNS
from finetuning.runs.ownership import owner_name

MAX_NAME = 24
"""Characters of an upload's name in a run id: names derived from it must fit SageMaker's 63."""

RUN_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*-[0-9a-f]{8}")
"""What `Upload.run_id` makes."""


@dataclass(frozen=True)
class Upload:
    """The object whose upload started a run. `version_id` is S3's; every upload of a key has its own.

    `requester` and `request_id` are from S3's event: the account or the service that made the request, never a person,
    and the request's id in S3's access log and in CloudTrail. Empty if no event started the run.
    """

    bucket: str
    key: str
    version_id: str
    requester: str = field(default="", compare=False)
    request_id: str = field(default="", compare=False)

    @property
    def folder(self) -> str | None:
        """`runs/<name>/` for an upload with a run.json, None for a single file in the inbox."""
        parts = self.key.split("/")
        is_folder = len(parts) == 3 and f"{parts[0]}/" == RUNS and parts[2] == RUN_FILE
        return f"{RUNS}{parts[1]}/" if is_folder else None

    @property
    def starts_a_run(self) -> bool:
        """True for a file with an extension in the inbox, and for the run.json that completes a folder."""
        parts = self.key.split("/")
        return self.folder is not None or (len(parts) == 2 and f"{parts[0]}/" == INBOX and "." in parts[1])

    @property
    def name(self) -> str:
        """The user's name for it in Latin lower-case letters, digits and single hyphens: `Ünï (1)` is `uni-1`."""
        if not self.starts_a_run:
            raise FineTuningError(
                Code.UPLOAD_NOT_FOUND,
                f"s3://{self.bucket}/{self.key} is neither inbox/<name>.<ext> nor runs/<name>/run.json.",
                "Upload one data file to inbox/, or a folder to runs/<name>/ with its run.json last.",
            )
        stem = self.key.split("/")[1] if self.folder else data_stem(self.key)
        slug = re.sub(r"[^a-z0-9]+", "-", _latin(stem).lower()).strip("-")[:MAX_NAME].strip("-")
        return slug or "run"

    @property
    def owner(self) -> str:
        """Who owns an endpoint that its run creates: the folder's name as uploaded, or the key of a single file."""
        return owner_name(self.key.split("/")[1] if self.folder else self.key)

    @property
    def run_id(self) -> str:
        """`<name>-<8 hex digits>`, a digest of bucket, key and version: it does not depend on the time."""
        digest = hashlib.sha256("\n".join((self.bucket, self.key, self.version_id)).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"

    @property
    def event(self) -> dict[str, Any]:
        """The input of an execution for this upload: what is used of the `detail` of S3's event "Object Created"."""
        return {"bucket": {"name": self.bucket}, "object": {"key": self.key, "version-id": self.version_id}}


def upload_of(execution_input: str) -> Upload | None:
    """The upload in an execution's input; None if it is none that starts a run.

    An execution can be started by hand with any input.
    """
    try:
        given = json.loads(execution_input)
        upload = Upload(given["bucket"]["name"], given["object"]["key"], given["object"]["version-id"])
    except (ValueError, TypeError, KeyError):
        return None
    return upload if upload.starts_a_run else None


def event_word(value: object) -> str:
    """A requester or a request's id of S3's event; "" for what no event has, but an execution started by hand may."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9.\-]{1,64}", value) else ""


def _latin(name: str) -> str:
    if name.isascii():
        return name
    from anyascii import anyascii  # most names need none of its tables

    return anyascii(name)


def data_stem(key: str) -> str:
    """The file's name without its data suffix and `.gz`: `inbox/faq.jsonl.gz` → `faq`."""
    name = PurePosixPath(key).name
    for suffix in (".gz", *SUFFIXES):
        name = name.removesuffix(suffix)
    return name
