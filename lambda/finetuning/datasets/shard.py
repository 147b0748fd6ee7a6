"""One shard: records in, training rows out, every record counted. The inner loop of the data preparation."""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from heapq import heappush, heapreplace
from typing import Any, BinaryIO, NamedTuple, cast
from zlib import error as zlib_error

import orjson

from finetuning.datasets.conversion import Converter, Task
from finetuning.datasets.detection import Framing
from finetuning.datasets.faults import FIXES, Fault, RowFault
from finetuning.datasets.framing import Record, csv_rows, gunzip, json_values, lines, undecodable
from finetuning.datasets.json_faults import duplicate_key, json_fault
from finetuning.datasets.preparation import Preparation, Shard
from finetuning.datasets.prompts import RESPONSE_MARK, Template
from finetuning.datasets.report import MAX_ERRORS, LineError, LongestRow, Sample, ShardResult, tokens_of

DIGEST_BYTES = 16
SAMPLES = 3
LONGEST_KEPT = 32
"""Longest rows a shard reports: more than are shown, for some may turn out to be duplicates of another shard's."""

MAX_LAYOUTS = 4096


class Sinks(NamedTuple):
    """Where a shard's rows go, and the digests of the rows in the same order, 16 bytes each."""

    train: BinaryIO
    validation: BinaryIO
    train_digests: BinaryIO
    validation_digests: BinaryIO


def prepare_shard(preparation: Preparation, shard: Shard, source: BinaryIO, sinks: Sinks) -> ShardResult:
    """Prepares the rows of one shard. `source` stands at `max(shard.start - 1, 0)` of the file.

    Rows are written in the order they come in. Which side one lands on is told by its digest alone, so it is the same
    in every run, order and number of shards.
    """
    file = preparation.files[shard.file]
    if file.detection.compressed:
        source = gunzip(source)
    if file.detection.framing is Framing.TEXT:
        return _prepare_text(preparation, shard, source, sinks)
    return _prepare_rows(preparation, shard, _records(preparation, shard, source), sinks)


def _records(preparation: Preparation, shard: Shard, source: BinaryIO) -> Iterator[Record]:
    detection = preparation.files[shard.file].detection
    match detection.framing:
        case Framing.ARRAY:
            return json_values(source, depth=1)
        case Framing.DOCUMENT:
            return json_values(source, depth=0)
        case Framing.CSV:
            return csv_rows(source, detection.delimiter, detection.columns, detection.has_header)
        case _:
            return lines(source, shard.start, shard.end)


def _until_broken(records: Iterator[Record]) -> Iterator[Record]:
    """The records, the last a fault where the compressed stream is damaged there."""
    line = 0
    try:
        for line, content in records:
            yield line, content
    except (EOFError, zlib_error) as error:
        yield line + 1, RowFault(Fault.COMPRESSION, f"The file cannot be read further: {error}.")


BREAKS_OFF = frozenset((Fault.JSON_TRUNCATED, Fault.COMPRESSION))


def _prepare_rows(preparation: Preparation, shard: Shard, records: Iterator[Record], sinks: Sinks) -> ShardResult:
    converter = Converter(
        task=preparation.task,
        convertible=preparation.convertible,
        template=preparation.user_template,
        text_column=preparation.files[shard.file].text_column,
        repair=preparation.repair,
    )
    file = preparation.files[shard.file].name
    result = ShardResult()
    tally = result.tally
    chat = preparation.task is Task.CHAT
    limit = preparation.row_limit
    overhead = template_bytes(preparation.template)
    threshold = preparation.validation_threshold
    convert, loads, dumps, append_newline = converter.convert, orjson.loads, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    write_train, write_validation = sinks.train.write, sinks.validation.write
    write_train_digest, write_validation_digest = sinks.train_digests.write, sinks.validation_digests.write
    seen: set[int] = set()
    layouts: set[tuple[int, int]] = set()
    histogram: Counter[int] = tally.histogram
    longest: list[tuple[int, int, bytes]] = []
    floor = count = blank = duplicates = 0
    turns = characters = truncated = latin = 0
    train = validation = train_tokens = validation_tokens = 0

    for count, (number, raw) in enumerate(_until_broken(records), 1):  # noqa: B007 - counts to the end
        try:
            if isinstance(raw, bytes):
                row = loads(raw)
            elif isinstance(raw, dict):
                row = raw
            else:
                raise raw
            converted = convert(row)
            out = dumps(converted, None, append_newline)
            size = len(out)
            # Rows of one layout shrink by the same bytes when converted: one that shrinks otherwise is looked into.
            if isinstance(raw, bytes):
                texts = converted["dialog"] if chat else ()
                layout = (len(texts), len(raw) - size)
                if layout not in layouts:
                    if duplicate := duplicate_key(raw, row):
                        raise RowFault(Fault.JSON_DUPLICATE_KEY, f"The key {duplicate} is there twice.", duplicate)
                    if len(layouts) < MAX_LAYOUTS:
                        layouts.add(layout)
        except orjson.JSONDecodeError as error:
            line = cast(bytes, raw)
            if line.strip():
                _refuse(result, file, number, json_fault(line, error), line)
            else:
                blank += 1
            continue
        except orjson.JSONEncodeError:
            _refuse(result, file, number, RowFault(Fault.JSON_SURROGATE, "A character is cut in half."), raw)
            continue
        except RowFault as fault:
            _refuse(result, file, number, fault, raw)
            continue

        digest = sha256(out).digest()[:DIGEST_BYTES]
        key = int.from_bytes(digest)
        if key in seen:
            duplicates += 1
            continue
        seen.add(key)
        tokens = (size + overhead + 3) >> 2
        if key < threshold:
            write_validation(out)
            write_validation_digest(digest)
            validation += 1
            validation_tokens += tokens
        else:
            write_train(out)
            write_train_digest(digest)
            train += 1
            train_tokens += tokens
        if chat:
            dialog = converted["dialog"]
            turns += len(dialog)
            for message in dialog:
                characters += len(message["content"])
        else:
            for text in converted.values():
                characters += len(text)
        histogram[tokens.bit_length()] += 1
        if tokens > limit:
            truncated += 1
        if out.isascii():
            latin += 1
        else:
            tally.scripts[script_of(out)] += 1
        if tokens > floor:
            (heapreplace if len(longest) == LONGEST_KEPT else heappush)(longest, (tokens, -number, digest))
            floor = longest[0][0] if len(longest) == LONGEST_KEPT else 0
        if len(result.samples) < SAMPLES:
            result.samples.append(Sample(digest=digest.hex(), row=converted))

    if latin:
        tally.scripts[LATIN] += latin
    tally.lines, tally.blank, tally.duplicates = count, blank, duplicates
    tally.train, tally.validation, tally.turns, tally.characters = train, validation, turns, characters
    tally.train_tokens, tally.validation_tokens, tally.truncated = train_tokens, validation_tokens, truncated
    tally.shapes, tally.ignored = converter.shapes(), converter.ignored()
    tally.repaired, tally.numbers_as_text = converter.dialogs.repaired, converter.numbers_as_text
    result.longest = [
        LongestRow(tokens=tokens, line=-line, digest=digest.hex())
        for tokens, line, digest in sorted(longest, reverse=True)
    ]
    return result


def _refuse(result: ShardResult, file: str, line: int, fault: RowFault, raw: Any) -> None:
    result.tally.error_counts[fault.code] += 1
    result.broken_off = result.broken_off or fault.code in BREAKS_OFF
    if len(result.errors) < MAX_ERRORS:
        result.errors.append(
            LineError(
                file=file,
                line=line,
                path=fault.path,
                code=fault.code,
                message=fault.message,
                fix=FIXES[fault.code],
                snippet=snippet(raw),
            )
        )


SNIPPET = 160


def snippet(raw: Any) -> str:
    """The start of a record in characters that are safe to print."""
    if isinstance(raw, RowFault):
        return ""
    data = raw if isinstance(raw, bytes) else orjson.dumps({key: value[:SNIPPET] for key, value in _printable(raw)})
    text = data[: SNIPPET * 4].decode(errors="backslashreplace").strip()
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:SNIPPET])
    return shown + ("…" if len(data) > SNIPPET else "")


def _printable(row: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(key, value.encode(errors="backslashreplace").decode()) for key, value in row.items()]


def _prepare_text(preparation: Preparation, shard: Shard, source: BinaryIO, sinks: Sinks) -> ShardResult:
    """Text goes through as it is: blank lines stay, nothing is a duplicate. All of it goes to `sinks.train`; where it
    is cut in two is settled when its length is known.
    """
    file = preparation.files[shard.file].name
    result = ShardResult()
    tally = result.tally
    ends_open = False
    for number, raw in _until_broken(lines(source)):
        tally.lines += 1
        fault = raw if isinstance(raw, RowFault) else _not_utf8(cast(bytes, raw))
        if fault:
            _refuse(result, file, number, fault, raw)
            continue
        line = cast(bytes, raw)
        sinks.train.write(line)
        ends_open = not line.endswith(b"\n")
        if line.isspace():
            tally.blank += 1
            continue
        measured = measure(line, line.decode())
        tally.train += 1
        tally.train_tokens += measured.tokens
        tally.characters += measured.characters
        tally.histogram[measured.tokens.bit_length()] += 1
        tally.scripts[measured.script] += 1
        if len(result.samples) < SAMPLES:
            result.samples.append(Sample(digest="", row={"text": line.decode().rstrip("\r\n")}))
        if not result.longest or measured.tokens > result.longest[0].tokens:
            result.longest = [LongestRow(tokens=measured.tokens, line=number, digest="")]
    if ends_open and shard.file + 1 < len(preparation.files):
        sinks.train.write(b"\n")
    tally.shapes["text"] = tally.train
    return result


def _not_utf8(line: bytes) -> RowFault | None:
    if line.isascii():
        return None
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return undecodable(line, error)
    return None


class Measure(NamedTuple):
    """A row's part in the statistics."""

    tokens: int
    turns: int
    characters: int
    script: str


def measure(out: bytes, row: Any, overhead: int = 0) -> Measure:
    """What the inner loop counts of a row written as `out`, for one row: a text, columns, or `{"dialog": […]}`."""
    if isinstance(row, str):
        turns, texts = 0, [row]
    elif "dialog" in row:
        turns, texts = len(row["dialog"]), [message["content"] for message in row["dialog"]]
    else:
        turns, texts = 0, list(row.values())
    script = LATIN if out.isascii() else script_of(out)
    return Measure(tokens_of(len(out) + overhead), turns, sum(map(len, texts)), script)


def template_bytes(template: Template | None) -> int:
    """Bytes the template adds to every row."""
    return len((template["prompt"] + RESPONSE_MARK + template["completion"]).encode()) if template else 0


LATIN = "Latin"
_BEYOND_LATIN = re.compile(
    "[\u0370-\u1dbf\u2c00-\u2dff\u2e80-\ud7ff\uf900-\ufdff\ufe70-\ufefe\uff66-\uff9f\U00010000-\U0001f000\U00020000-\U0003ffff]"
)
_BLOCKS = (
    (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"), (0x0590, "Hebrew"), (0x0600, "Arabic"),
    (0x0900, "Devanagari"), (0x0980, "other"), (0x0B80, "Tamil"), (0x0C00, "other"), (0x0E00, "Thai"),
    (0x0E80, "other"), (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, "other"), (0x2E80, "Han"),
    (0x3040, "Kana"), (0x3100, "Han"), (0xA000, "other"), (0xAC00, "Hangul"), (0xD7B0, "other"), (0xF900, "Han"),
    (0xFB00, "other"), (0xFE70, "Arabic"), (0xFF00, "Kana"), (0x10000, "other"), (0x20000, "Han"),
)  # fmt: skip
_STARTS = [start for start, _ in _BLOCKS]
SCRIPT_SAMPLE = 1024
"""Bytes of a row looked at for its script."""


def script_of(out: bytes) -> str:
    """The script most of a row's beginning is in: Latin unless a sixth of it is not. Han with kana is Japanese."""
    text = out[:SCRIPT_SAMPLE].decode(errors="ignore")
    letters = _BEYOND_LATIN.findall(text)
    if len(letters) * 6 < len(text):
        return LATIN
    counts = Counter(_BLOCKS[bisect(_STARTS, ord(letter)) - 1][1] for letter in letters[:100])
    return "Japanese" if counts["Kana"] else counts.most_common(1)[0][0]
