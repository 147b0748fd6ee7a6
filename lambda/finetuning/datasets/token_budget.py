"""A budget of tokens: which training rows are used if they are not to have more than `data.max_tokens`.

Rows are taken in the order of their digests, which is no order of the data: the same rows every time, and with a larger
budget the same rows and more. Of a text, whose order matters, the beginning is taken.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress

from finetuning.datasets.outputs import DIGEST_BYTES, DIGESTS, LENGTHS, Output
from finetuning.datasets.token_sample import TokenSample, length_classes

SCALE = 1000
"""Of the costs of rows: whole numbers, so that no order of additions matters."""


def row_costs(sample: TokenSample, limit: int) -> dict[int, int]:
    """Tokens that training reads of a row, by its class of length, in thousandths. `limit`: tokens after which a row is
    cut off.
    """
    return {
        length: -(-SCALE * sum(min(each, limit) for each in counted.values()) // len(counted))
        for length, counted in sample.classes.items()
        if counted
    }


def rows_over_budget(outputs: Sequence[Output], costs: Mapping[int, int], budget: int) -> list[bytearray]:
    """A byte for each row of the outputs, 1 if a budget of so many tokens leaves it out. One row is always used."""
    left = _thousandths(costs, budget)
    by_first_byte = Counter[int]()
    for output in outputs:
        for digests, lengths in _described(output):
            rows = Counter(zip(digests[::DIGEST_BYTES], lengths, strict=True))
            for (byte, length), times in rows.items():
                by_first_byte[byte] += times * costs[length]
    for byte in sorted(by_first_byte):
        if by_first_byte[byte] > left:
            break
        left -= by_first_byte[byte]
    else:
        return [bytearray(output.rows) for output in outputs]
    is_first = byte == min(by_first_byte)
    cut = _cut(_costs_of(outputs, costs, byte), left, at_least=1 if is_first else 0) or bytes([byte] + [255] * 16)
    return [_from(output, cut) for output in outputs]


def lines_within_budget(lines: Iterable[bytes], costs: Mapping[int, int], budget: int) -> int:
    """Bytes of the first lines of a text that a budget of so many tokens leaves. One line is always used."""
    left, size, used = _thousandths(costs, budget), 0, 0
    for line in lines:
        if not line.isspace():
            (length,) = length_classes([len(line)])
            left -= costs[length]
            if left < 0 and used:
                break
            used += 1
        size += len(line)
    return size


def _thousandths(costs: Mapping[int, int], budget: int) -> int:
    """The budget, less what the report rounds up: half a token in each class."""
    return budget * SCALE - len(costs) * SCALE // 2


def _described(output: Output) -> Iterator[tuple[bytes, list[int]]]:
    """Digests and classes of length of the rows that are kept, block by block."""
    for (first, digests), (_, lengths) in zip(
        output.blocks(DIGESTS, DIGEST_BYTES), output.blocks(LENGTHS, array("I").itemsize), strict=True
    ):
        sizes = memoryview(lengths).cast("I").tolist()
        kept = output.kept[first : first + len(sizes)]
        if 0 in kept:
            chosen = list(compress(range(len(sizes)), kept))
            digests = b"".join(digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES] for at in chosen)
            sizes = [sizes[at] for at in chosen]
        yield digests, length_classes(sizes)


def _costs_of(outputs: Sequence[Output], costs: Mapping[int, int], byte: int) -> dict[bytes, int]:
    """The costs of the rows whose digests begin with this byte."""
    found: dict[bytes, int] = {}
    for output in outputs:
        for digests, lengths in _described(output):
            starts = range(0, len(digests), DIGEST_BYTES)
            for start, length in compress(zip(starts, lengths, strict=True), map(byte.__eq__, digests[::DIGEST_BYTES])):
                found[digests[start : start + DIGEST_BYTES]] = costs[length]
    return found


def _cut(costs: Mapping[bytes, int], left: int, at_least: int) -> bytes:
    """The smallest digest that is left out; b"" if none is."""
    for used, digest in enumerate(sorted(costs)):
        left -= costs[digest]
        if left < 0 and used >= at_least:
            return digest
    return b""


def _from(output: Output, cut: bytes) -> bytearray:
    """The rows that are kept so far and have this digest or a larger one."""
    gone = bytearray()
    for _, digests in output.blocks(DIGESTS, DIGEST_BYTES):
        starts = range(0, len(digests), DIGEST_BYTES)
        gone += bytes(digests[start : start + DIGEST_BYTES] >= cut for start in starts)
    return bytearray(map(int.__and__, gone, output.kept))
