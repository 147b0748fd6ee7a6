"""What a shard writes for a channel: its rows, and beside them what their joining needs to know of each row."""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, compress, count, pairwise
from operator import gt
from typing import BinaryIO, NamedTuple

from finetuning.datasets.workspace import Piece, Workspace

DIGESTS, LENGTHS, SIGNATURES = ".digests", ".lengths", ".signatures"
"""Names of what lies beside the rows: 16 bytes, 4 bytes and `near_duplicates.SLOTS` bytes a row."""

DIGEST_BYTES = 16
"""XXH3 of the row as written, 128 bits; as fast as memory. Among a billion rows two different ones have the same digest
once in 10²⁰ uploads. A user who forges one only loses a row of their own."""

RANGE_BYTES = 8 << 20
"""An output of which rows are dropped is copied in ranges if these have so many bytes on average: S3 copies a range of
5 MiB or more without a download. Otherwise it is written again."""

BLOCK_ROWS = 4096


class Sinks(NamedTuple):
    """Where the rows of a channel are written, and what lies beside them."""

    rows: BinaryIO
    digests: BinaryIO
    lengths: BinaryIO
    signatures: BinaryIO


@contextmanager
def written(workspace: Workspace, key: str) -> Iterator[Sinks]:
    with (
        workspace.create(key) as rows,
        workspace.create(key + DIGESTS) as digests,
        workspace.create(key + LENGTHS) as lengths,
        workspace.create(key + SIGNATURES) as signatures,
    ):
        yield Sinks(rows, digests, lengths, signatures)


@dataclass(eq=False)
class Output:
    """What a shard wrote for a channel. `size`: bytes of its `rows`; `kept`: a byte for each row, 0 if it is dropped.

    Texts have no rows in this sense: their lines are all kept.
    """

    workspace: Workspace
    key: str
    rows: int
    size: int
    kept: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self.kept = bytearray(b"\1") * self.rows

    def drop(self, gone: bytes | bytearray) -> None:
        """Drops the rows for which `gone` has a 1."""
        self.kept = bytearray(map(gt, self.kept, gone))

    def blocks(self, of: str, width: int) -> Iterator[tuple[int, bytes]]:
        """What lies beside the rows, `width` bytes a row: blocks, each with the ordinal of its first row."""
        if self.rows:
            with self.workspace.open(self.key + of) as file:
                for first in range(0, self.rows, BLOCK_ROWS):
                    yield first, file.read(width * min(BLOCK_ROWS, self.rows - first))

    def digests(self, due: bytes = b"\1" * 256) -> Iterator[tuple[int, bytes]]:
        """Ordinals and digests of rows. `due`: by the digest's last byte, 1 for the rows that are asked for."""
        for first, block in self.blocks(DIGESTS, DIGEST_BYTES):
            ends = block[DIGEST_BYTES - 1 :: DIGEST_BYTES]
            for at in compress(range(len(ends)), ends.translate(due)):
                yield first + at, block[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]

    def lengths(self) -> Sequence[int]:
        """Bytes of each row."""
        found = array("I")
        for _, block in self.blocks(LENGTHS, found.itemsize):
            found.frombytes(block)
        return found

    def lines(self, wanted: bytes | bytearray) -> Iterator[bytes]:
        """The rows for which `wanted` has a 1; each is read alone if they are few."""
        if wanted.count(1) * RANGE_BYTES > self.size:
            with self.workspace.open(self.key) as file:
                yield from compress(file, wanted)
            return
        for start, end in compress(pairwise(accumulate(self.lengths(), initial=0)), wanted):
            with self.workspace.open(self.key, start) as file:
                yield file.read(end - start)

    def pieces(self) -> list[Piece]:
        """The rows that are kept: ranges of the output if few are dropped, or else of a copy without them."""
        dropped = self.kept.count(0)
        if not dropped:
            return [Piece(self.key, 0, self.size)] if self.size else []
        if dropped * RANGE_BYTES > self.size:
            return self._copied()
        lengths = self.lengths()
        starts = list(accumulate(lengths, initial=0))
        gaps = [(starts[at], starts[at + 1]) for at in compress(count(), map((0).__eq__, self.kept))]
        edges = [0, *(edge for gap in gaps for edge in gap), self.size]
        return [Piece(self.key, *edge) for edge in zip(edges[::2], edges[1::2], strict=True) if edge[0] < edge[1]]

    def _copied(self) -> list[Piece]:
        key, size = self.key + ".kept", 0
        with self.workspace.open(self.key) as source, self.workspace.create(key) as into:
            for line in compress(source, self.kept):
                size += into.write(line)
        return [Piece(key, 0, size)] if size else []


BYTES_OF_A_DIGEST = 100
"""Memory of a digest in a set: 91 to 98 bytes, measured with 2 to 10 million."""

MAX_PASSES = 256
"""Passes over all digests; each takes those with some values of the last byte."""


def find_duplicates(outputs: Sequence[Output], at_once: int) -> list[bytearray]:
    """A byte for each row, 1 if an earlier row of these outputs is the same. `at_once`: digests held in memory."""
    found = [bytearray(output.rows) for output in outputs]
    passes = min(-(-sum(output.rows for output in outputs) // at_once), MAX_PASSES)
    for number in range(passes):
        due = bytes(byte % passes == number for byte in range(256))
        seen: set[bytes] = set()
        for output, gone in zip(outputs, found, strict=True):
            for ordinal, digest in output.digests(due):
                if digest in seen:
                    gone[ordinal] = 1
                seen.add(digest)
    return found
