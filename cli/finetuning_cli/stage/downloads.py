"""Download a run's tuned model: what is there already is kept, and each file is checked."""

import base64
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.errors import Code, FineTuningError
from finetuning.operations.preflight import no_model
from finetuning.operations.run import Run

BLOCK = 1 << 20
SUMS = "SHA256SUMS"
"""The file that lists the digests, as `sha256sum --check` reads it."""


class _Digest(Protocol):
    def update(self, data: bytes, /) -> object: ...
    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


CHECKSUMS: dict[str, Callable[[], _Digest]] = {
    "ChecksumSHA256": hashlib.sha256,
    "ChecksumSHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "ChecksumCRC32": _Crc32,
}
"""S3's checksums of a whole object that Python can compute. Without an AWS library S3 itself adds CRC-64/NVME."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of the model in S3. `name`: its path below the model's folder; `changed_at`: seconds since 1970."""

    bucket: str
    key: str
    name: str
    size: int
    etag: str
    changed_at: int


@dataclass(frozen=True)
class Downloaded:
    """`checked`: compared with S3's checksum; otherwise its size alone is right."""

    name: str
    sha256: str
    checked: bool


def model_files(run: Run) -> list[RemoteFile]:
    """The files of the tuned model. Raises `FineTuningError` (RUN_HAS_NO_MODEL) if there are none."""
    bucket, _, prefix = run.tuned_model.removeprefix("s3://").partition("/")
    with translate_errors(f"list the model of {run.run_id}"):
        pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix) if prefix else ()
        found = [
            RemoteFile(
                bucket=bucket,
                key=each["Key"],
                name=each["Key"].removeprefix(prefix),
                size=each["Size"],
                etag=each["ETag"].strip('"'),
                changed_at=int(each["LastModified"].timestamp()),
            )
            for page in pages
            for each in page.get("Contents", [])
            if not each["Key"].endswith("/")
        ]
    if not found:
        finding = no_model(run.run_id)
        raise FineTuningError(finding.code, finding.message, finding.fix)
    return found


def bytes_to_download(files: Sequence[RemoteFile], folder: Path) -> int:
    """What is not in the folder yet, which the disk must have room for."""

    def there(file: RemoteFile, path: Path) -> int:
        part = _part_of(file, path)
        return file.size if _is_complete(file, path) else part.stat().st_size if part.is_file() else 0

    return sum(max(file.size - there(file, _inside(folder, file.name)), 0) for file in files)


def download(file: RemoteFile, folder: Path, advance: Callable[[int], None]) -> Downloaded:
    """Downloads the file, or the rest of it, and checks it. `advance` is called with the number of bytes there.

    A file of the same size and time is kept: size and name alone are those of other runs' files, too.

    Raises `FineTuningError` (DOWNLOAD_DAMAGED) if the file is not the one in S3; it is deleted then.
    """
    path = _inside(folder, file.name)
    part = _part_of(file, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_complete(file, path):
        advance(file.size)
    else:
        _fetch(file, part, advance)
        os.utime(part, (file.changed_at, file.changed_at))
        part.replace(path)
    sha256, checked = _verified(file, path)
    return Downloaded(file.name, sha256, checked)


def write_sums(folder: Path, files: list[Downloaded]) -> None:
    (folder / SUMS).write_text("".join(f"{each.sha256}  {each.name}\n" for each in files), encoding="utf-8")


def _inside(folder: Path, name: str) -> Path:
    """Raises `FineTuningError` for a name that leads out of the folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise FineTuningError(
            Code.DOWNLOAD_DAMAGED,
            f"The model has a file named {name!r}, which leads out of its folder.",
            "Look at the run's files in S3: no training writes such a name.",
        )
    return folder / name


def _is_complete(file: RemoteFile, path: Path) -> bool:
    return path.is_file() and (path.stat().st_size, int(path.stat().st_mtime)) == (file.size, file.changed_at)


def _part_of(file: RemoteFile, path: Path) -> Path:
    """Where the file is until it is complete: of this version of the object."""
    return path.with_name(f"{path.name}.{file.etag[:8]}.part")


def _fetch(file: RemoteFile, part: Path, advance: Callable[[int], None]) -> None:
    there = part.stat().st_size if part.is_file() else 0
    if there > file.size:
        part.unlink()
        there = 0
    advance(there)
    if there == file.size and part.is_file():
        return
    rest = {"Range": f"bytes={there}-"} if there else {}
    with translate_errors(f"download {file.name}"), part.open("ab") as out:
        body = client("s3").get_object(Bucket=file.bucket, Key=file.key, IfMatch=file.etag, **rest)["Body"]
        for block in body.iter_chunks(BLOCK):
            out.write(block)
            advance(len(block))


def _verified(file: RemoteFile, path: Path) -> tuple[str, bool]:
    """The file's SHA-256, and whether S3 has a checksum that it was compared with."""
    with translate_errors(f"look up the checksum of {file.name}"):
        head = client("s3").head_object(Bucket=file.bucket, Key=file.key, ChecksumMode="ENABLED")
    name = next((name for name in CHECKSUMS if name in head and head.get("ChecksumType") != "COMPOSITE"), None)
    sha256 = hashlib.sha256()
    other = CHECKSUMS[name]() if name else None
    for block in _blocks(path):
        sha256.update(block)
        if other:
            other.update(block)
    same = path.stat().st_size == file.size and _agree(head, name, other)
    if not same:
        path.unlink()
        raise FineTuningError(
            Code.DOWNLOAD_DAMAGED,
            f"{path} is not the file in S3, and was deleted.",
            "Repeat the command: it downloads only what is missing.",
        )
    return sha256.hexdigest(), name is not None


def _agree(head: dict[str, Any], name: str | None, computed: _Digest | None) -> bool:
    return name is None or computed is None or base64.b64decode(head[name]) == computed.digest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
