"""A stage in memory, for unit tests: its environment, its documents and its runs, without S3."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

from finetuning.aws.run_store import RunStore
from finetuning.datasets.detection import detect
from finetuning.datasets.workspace import Piece, Workspace
from finetuning.operations.run import Run
from finetuning.runs.plan import DataFile
from finetuning.runs.status import RunStatus
from tests.builders.runs import RUN_ID, any_plan

PREFIX = "finetune-dev"
DATA_KEY = "runs/pirate/data.jsonl"


def any_environment(**changes: str) -> dict[str, str]:
    """The environment of a deployed function."""
    return {
        "STAGE": "dev",
        "AWS_REGION": "us-east-1",
        "UPLOAD_BUCKET": "uploads",
        "ARTIFACTS_BUCKET": "artifacts",
        "KMS_KEY_ARN": "arn:aws:kms:us-east-1:123456789012:key/k",
        "EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/jobs",
        "IMPORT_ROLE_ARN": "arn:aws:iam::123456789012:role/imports",
        "SUBNET_IDS": "subnet-1,subnet-2",
        "SECURITY_GROUP_IDS": "sg-1",
        "TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:topic",
        "DEFAULT_MODEL": "meta-textgeneration-llama-3-1-8b-instruct",
        "MAX_RUNTIME_HOURS": "24",
        "ENDPOINT_TTL_HOURS": "8",
        "ENDPOINT_IDLE_MINUTES": "60",
        "TRAINING_INSTANCE_TYPES": "ml.g5.*,ml.p4d.*",
        "MAX_CONCURRENT_RUNS": "5",
        "APPROVAL_HOURS": "24",
        **changes,
    }


class MemoryStore(RunStore):
    """A `RunStore` whose bucket is a dictionary: key → body."""

    def __init__(self) -> None:
        super().__init__(None, "artifacts", "arn:aws:kms:us-east-1:123456789012:key/k")
        self.objects: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def _read_version(self, key: str) -> tuple[bytes | None, str]:
        body = self.read(key)
        return body, "" if body is None else str(body)

    def _replace(self, key: str, body: bytes, version: str) -> bool:
        found = self.objects.get(key)
        if ("" if found is None else str(found)) != version:
            return False
        self.objects[key] = body
        return True

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        self.objects[key] = body

    def link(self, key: str, hours: float) -> str:
        return f"https://{self.bucket}.example/{key}"

    def folders(self, prefix: str) -> Iterator[str]:
        below = re.compile(re.escape(prefix) + "([^/]+)/")
        yield from sorted({found[1] for key in self.objects if (found := below.match(key))})

    def is_empty(self, prefix: str) -> bool:
        return not any(key.startswith(prefix) for key in self.objects)

    def claim(self, key: str, body: bytes) -> bytes:
        return self.objects.setdefault(key, body)

    def workspace(self, prefix: str) -> Workspace:
        return MemoryWorkspace(self.objects, prefix)


class MemoryWorkspace:
    """The objects below a prefix, as streams."""

    def __init__(self, objects: dict[str, bytes], prefix: str) -> None:
        self._objects, self._prefix = objects, prefix

    def open(self, key: str, start: int = 0) -> BinaryIO:
        return io.BytesIO(self._objects[self._prefix + key][start:])

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        into = io.BytesIO()
        yield into
        self._objects[self._prefix + key] = into.getvalue()

    def size(self, key: str) -> int:
        return len(self._objects[self._prefix + key])

    def assemble(self, key: str, pieces: Sequence[Piece]) -> None:
        bodies = (self._objects[self._prefix + piece.key][piece.start : piece.end] for piece in pieces)
        self._objects[self._prefix + key] = b"".join(bodies)


def any_run(store: RunStore | None = None, run_id: str = RUN_ID, step: str = "AnyStep", **plan: Any) -> Run:
    """A planned run that has started. `plan`: changes to `any_plan`."""
    run = Run(run_id, store=store or MemoryStore(), prefix=PREFIX, step=step)
    run.save_plan(any_plan(run_id=run_id, **plan))
    run.store.save(run.layout.status, RunStatus.begin(run_id, datetime.now(UTC)))
    return run


def any_run_of(store: RunStore, body: bytes, size: int | None = None, **plan: Any) -> Run:
    """A planned run of one data file that begins with `body`, and is `body` unless `size` says more."""
    file = DataFile(key=DATA_KEY, version_id="1", size=size or len(body), etag="e")
    detected = file.model_copy(update={"detection": detect(body, file.name, file.size)})
    return any_run(store, data_files=[detected.model_dump()], **plan)
