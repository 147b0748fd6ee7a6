"""How many tokens the rows have, by counting a sample that is the same however the data is cut into shards.

Rows are divided into classes by their length in bytes, four classes to a doubling. Of each class the rows with the
largest digests are counted: all rows of a small class, `PER_CLASS` or fewer of a large one. The largest of all shards
together are among the largest of each shard, so the sample does not depend on the shards. What the sample shows of a
class is assumed of all its rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heapreplace, nlargest
from itertools import accumulate, compress, count, pairwise, repeat
from operator import gt
from sys import maxsize

from pydantic import Field

from finetuning.datasets.limits import COUNTED_WHOLE
from finetuning.lazy_model import LazyModel

PER_CLASS, LEAST = 256, 16
CLASS_BYTES, NEAR_BYTES = 128 << 10, 512 << 10
"""Rows of a class that are counted: at most `PER_CLASS`, with `CLASS_BYTES` bytes, but `LEAST` in any case. Near the
length at which a row is cut off, `NEAR_BYTES`. A shard of 256 MB is counted in one or two tenths of a second."""

_CLASSES = 160
"""More than the bits of a row's size to the fourth power."""


def length_classes(sizes: Iterable[int]) -> list[int]:
    """The class of rows with so many bytes each: the number of bits of the fourth power."""
    return list(map(int.bit_length, map(pow, sizes, repeat(4))))


def rows_counted(length_class: int, limit: int) -> int:
    """Rows of a class that are counted, if it has as many. `limit`: tokens after which a row is cut off."""
    longest = 2 ** (length_class / 4)
    near = 2 * limit < longest < 8 * limit  # bytes
    return max(LEAST, min(PER_CLASS, int((NEAR_BYTES if near else CLASS_BYTES) / longest)))


class TokenSample(LazyModel):
    """The rows that were counted: class of length → start of the digest in hexadecimal → tokens."""

    classes: dict[int, dict[str, int]] = Field(default_factory=dict)

    def add(self, other: "TokenSample", limit: int) -> None:
        """Adds another shard's sample, made for the same limit. A row that both have counts once."""
        for length, theirs in other.classes.items():
            rows = self.classes.get(length, {}) | theirs
            self.classes[length] = dict(nlargest(rows_counted(length, limit), rows.items()))


class Sampler:
    """Keeps the rows of a shard that may be counted. They are counted at the end, when it is known which they are."""

    def __init__(self, count_row: Callable[[bytes], int], limit: int) -> None:
        self._count_row, self._limit = count_row, limit
        self._smallest: dict[int, list[bytes]] = {}
        self._rows: dict[int, dict[bytes, bytes | int]] = {}
        self._floors = [b""] * _CLASSES
        """By class, the digest that another row must exceed."""

    def offer(self, digests: Sequence[bytes], rows: Sequence[bytes], classes: Sequence[int]) -> None:
        """Takes rows with their digests and classes."""
        for at in compress(count(), map(gt, digests, map(self._floors.__getitem__, classes))):
            self._keep(digests[at], rows[at], classes[at])

    def _keep(self, digest: bytes, row: bytes, length: int) -> None:
        digests, rows = self._smallest.setdefault(length, []), self._rows.setdefault(length, {})
        if digest <= self._floors[length] or digest in rows:
            return
        # A row that is larger is counted at once, by excerpts, and not held in memory.
        rows[digest] = row if len(row) <= COUNTED_WHOLE else self._count_row(row)
        room = rows_counted(length, self._limit)
        if len(digests) < room:
            heappush(digests, digest)
        else:
            del rows[heapreplace(digests, digest)]
        if len(digests) == room:
            self._floors[length] = digests[0]

    def counted(self) -> TokenSample:
        return TokenSample(
            classes={
                length: {
                    _short(digest.hex()): row if isinstance(row, int) else self._count_row(row)
                    for digest, row in rows.items()
                }
                for length, rows in self._rows.items()
            }
        )


def _short(digest: str) -> str:
    """The first 64 bits of a digest in hexadecimal are enough to tell rows apart."""
    return digest[:16]


@dataclass
class TokenFigures:
    """Of all rows. `tokens`: by channel; `trained`: of the first channel, each row up to the limit; `histogram`: rows
    by the bits of their tokens.
    """

    tokens: Counter[str] = field(default_factory=Counter)
    trained: int = 0
    truncated: int = 0
    histogram: Counter[int] = field(default_factory=Counter)


def estimate_tokens(
    sample: TokenSample, channels: Mapping[str, Mapping[int, int]], limit: int = maxsize
) -> TokenFigures:
    """The tokens of all rows. `channels`: their rows by class, those to train on first; `limit`: tokens after which a
    row is cut off.

    Whole numbers throughout, so that no order of additions matters.
    """
    found = TokenFigures()
    trained_on = next(iter(channels.values()))
    for length in sorted({length for rows in channels.values() for length in rows}):
        counted = sorted(sample.classes.get(length, {}).values())
        if not counted:
            continue
        rows = [of_channel.get(length, 0) for of_channel in channels.values()]
        found.tokens.update(dict(zip(channels, _shares(sum(counted), rows, len(counted)), strict=True)))
        found.trained += _scaled(sum(min(each, limit) for each in counted), trained_on.get(length, 0), len(counted))
        found.truncated += _scaled(sum(each > limit for each in counted), sum(rows), len(counted))
        bits = sorted(Counter(map(int.bit_length, counted)).items())
        shares = _shares(sum(rows), [times for _, times in bits], len(counted))
        found.histogram.update(dict(zip((each for each, _ in bits), shares, strict=True)))
    return found


def _shares(amount: int, parts: Iterable[int], whole: int) -> list[int]:
    """`amount` times each part by the whole, rounded so that the shares add up."""
    ends = [_scaled(amount, end, whole) for end in accumulate(parts, initial=0)]
    return [end - start for start, end in pairwise(ends)]


def _scaled(amount: int, rows: int, counted: int) -> int:
    """What is found in the rows that were counted, for all rows; rounded to the nearest."""
    return (2 * amount * rows + counted) // (2 * counted) if counted else 0


def row_tokens(sample: TokenSample, size: int, digest: str) -> int:
    """The tokens of one row, estimated by its class if it was not counted itself."""
    (length,) = length_classes([size])
    counted = sample.classes.get(length, {})
    return counted.get(_short(digest), _scaled(sum(counted.values()), 1, len(counted)))
