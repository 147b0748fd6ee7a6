"""Rows that nearly repeat another one, found by MinHash.

The similarity of two rows is that of the sets of all sequences of eight bytes in what they say (Jaccard: those in both
by those in either). Each row gets a signature: of each of 64 slots of its MinHash one byte. Two rows agree in a slot
with the probability of their similarity. Rows that agree in one of ten bands of four slots are compared in all slots.

Of rows with a similarity of 0.8 more than 99 % are found, of those with 0.5 one in a hundred.
"""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, compress, count, pairwise
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

import orjson
from rensa import RMinHash

from finetuning.datasets.outputs import BLOCK_ROWS, SIGNATURES, Output
from finetuning.datasets.preparation import Preparation
from finetuning.datasets.templates import template_columns
from finetuning.jumpstart.family import Task

SLOTS, SEED = 64, 1
BAND, BANDS = 4, 10
SIMILAR = 42
"""Slots in which rows agree that are near-duplicates: a similarity of 0.66, three standard deviations below 0.8."""

GRAM = 8
SHORTEST = 32
"""Bytes of a row that is compared. In a shorter one a single word changes the similarity too much."""
LONGEST = 64 << 10
"""Bytes that are compared of a row: of a longer one the beginning and the end."""
GRAMS_AT_ONCE = 12_000
"""Their copies have 96 KB: more than 128 KB would be a memory mapping of its own, made and removed each time."""

REPRESENTATIVES = 4
"""Rows of a bucket with which its other rows are compared."""

_USER = b'{"role":"user","content":"'
_TURNS = (b'"},{"role":"assistant","content":"', b'"},' + _USER)


class Signer:
    """Makes the signatures of rows as they are written, of what is said in them: without system texts, which many rows
    have in common, and without the names of roles and columns.
    """

    def __init__(self, preparation: Preparation) -> None:
        columns = template_columns(preparation.template) if preparation.template else ["text"]
        self._is_chat = preparation.task is Task.CHAT
        self._marks = _TURNS if self._is_chat else [orjson.dumps(column) + b":" for column in columns]

    def sign(self, rows: Sequence[bytes], digests: Sequence[bytes]) -> bytes:
        """The signatures. A row that is not compared gets one of its digest, which is like no other."""
        signed = bytearray()
        grams: list[bytes] = []
        ends = [0]
        for row, digest in zip(rows, digests, strict=True):
            text = self._said(row)
            if len(text) < SHORTEST:
                text = digest
            elif len(text) > LONGEST:
                text = text[: LONGEST // 2] + text[-LONGEST // 2 :]
            grams += [text[first : len(text) - (len(text) - first) % GRAM] for first in range(GRAM)]
            ends.append(ends[-1] + len(text) - GRAM + 1)
            if ends[-1] > GRAMS_AT_ONCE:
                signed += _signatures(grams, ends)
                grams, ends = [], [0]
        return bytes(signed + _signatures(grams, ends))

    def _said(self, row: bytes) -> bytes:
        text = row.partition(_USER)[2] if self._is_chat else row
        for mark in self._marks:
            text = text.replace(mark, b"\n")
        return text


def _signatures(grams: Sequence[bytes], ends: Sequence[int]) -> bytes:
    """`grams`: texts of whole sequences of eight bytes; `ends`: how many each row and those before it have."""
    if len(ends) == 1:
        return b""
    together = memoryview(b"".join(grams)).cast("Q")
    slots = RMinHash.digest_matrix_from_flat_token_hashes(together, ends, SLOTS, SEED)
    return array("I", chain.from_iterable(slots.to_rows())).tobytes()[:: array("I").itemsize]


def are_similar(one: int, other: int) -> bool:
    """True for the signatures, as numbers, of near-duplicates. Slots in which they agree are 0 in their difference."""
    return (one ^ other).to_bytes(SLOTS).count(0) >= SIMILAR


class NearRows(NamedTuple):
    """Rows of an output, a byte each: 1 if so. `repeated`: nearly repeats an earlier row of the training; `leaked`:
    nearly stands on the other side of the split too.
    """

    repeated: bytearray
    leaked: bytearray


def find_near_rows(held_out: Sequence[Output], training: Sequence[Output], at_once: int) -> list[NearRows]:
    """The near-duplicates among rows that are kept, by output. `at_once`: rows that are held in memory.

    The result depends on the rows and their order alone.
    """
    outputs = [*held_out, *training]
    with TemporaryFile() as file:
        for output in outputs:
            if output.rows:
                with output.workspace.open(output.key + SIGNATURES) as source:
                    copyfileobj(source, file, BLOCK_ROWS * SLOTS)
        file.flush()
        kept = b"".join(bytes(output.kept) for output in outputs)
        search = _Search(file, kept, sum(output.rows for output in held_out))
        search.run(at_once)
    ends = accumulate((output.rows for output in outputs), initial=0)
    return [NearRows(search.repeated[start:end], search.leaked[start:end]) for start, end in pairwise(ends)]


class _Search:
    """Compares the rows whose signatures a file has. Those before `first` are held out."""

    def __init__(self, file: BinaryIO, kept: bytes, first: int) -> None:
        self._file, self._kept, self._first = file, kept, first
        self.repeated, self.leaked = bytearray(len(kept)), bytearray(len(kept))
        self._signature = lru_cache(maxsize=16 * BLOCK_ROWS)(self._read)

    def run(self, at_once: int) -> None:
        parts = min(-(-len(self._kept) // at_once), 256)
        for band in range(BANDS):
            for part in range(parts):
                for bucket in self._buckets(band, bytes(byte % parts == part for byte in range(256))):
                    self._compare(bucket)

    def _buckets(self, band: int, due: bytes) -> Iterator[list[int]]:
        """The rows that agree in a band, in order. `due`: by the band's first byte, whether they are looked at now."""
        rows, keys = array("I"), array("I")
        self._file.seek(0)
        for first in range(0, len(self._kept), BLOCK_ROWS):
            block = self._file.read(BLOCK_ROWS * SLOTS)
            chosen = _both(block[band * BAND :: SLOTS].translate(due), self._kept[first : first + BLOCK_ROWS])
            rows.extend(compress(count(first), chosen))
            keys.extend(compress(memoryview(block).cast("I")[band :: SLOTS // BAND].tolist(), chosen))
        several: dict[int, list[int]] = {key: [] for key, times in Counter(keys).items() if times > 1}
        for row, key in zip(rows, keys, strict=True):
            if key in several:
                several[key].append(row)
        yield from several.values()

    def _compare(self, bucket: Sequence[int]) -> None:
        training = [row for row in bucket if row >= self._first]
        held_out = [row for row in bucket if row < self._first]
        learned = self._representatives(training, self._mark_repeated)
        if learned and held_out:
            asked = self._representatives(held_out, lambda row: None)
            for rows, others in ((held_out, learned), (training, asked)):
                for row in rows:
                    if self._is_like(row, others):
                        self.leaked[row] = 1

    def _mark_repeated(self, row: int) -> None:
        self.repeated[row] = 1

    def _representatives(self, rows: Sequence[int], repeats: Callable[[int], None]) -> list[int]:
        """The first rows that are not like each other. `repeats` is called with each row that is like one of them."""
        found: list[int] = []
        for row in rows:
            if self._is_like(row, found):
                repeats(row)
            elif len(found) < REPRESENTATIVES:
                found.append(row)
        return found

    def _is_like(self, row: int, others: Sequence[int]) -> bool:
        signature = self._signature(row)
        return any(are_similar(signature, self._signature(other)) for other in others)

    def _read(self, row: int) -> int:
        return int.from_bytes(os.pread(self._file.fileno(), SLOTS, row * SLOTS))


def _both(one: bytes, other: bytes) -> bytes:
    """1 where both have a 1."""
    return (int.from_bytes(one) & int.from_bytes(other)).to_bytes(len(one))
