"""One shard: records in, training rows out, every record counted. This is the inner loop of the preparation."""

import io
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappush, heapreplace
from typing import Any, BinaryIO, cast

import orjson
from xxhash import xxh3_128_digest as digest_of

from finetuning.datasets.conversion import Converter
from finetuning.datasets.data_errors import MARKED, DataError, ErrorCode
from finetuning.datasets.formats import Framing
from finetuning.datasets.framing import (
    CHUNK,
    Batch,
    Gunzip,
    Record,
    batches,
    csv_rows,
    json_values,
    lines,
    undecodable,
)
from finetuning.datasets.json_errors import duplicate_key, is_cut_off, json_error, texts
from finetuning.datasets.limits import DENSE_BATCH, IGNORED_KEPT, REFUSED_KEPT, SHORT_LINE
from finetuning.datasets.marked_text import has_special_token
from finetuning.datasets.near_duplicates import Signer
from finetuning.datasets.outputs import Sinks, written
from finetuning.datasets.plain_batches import PlainBatches
from finetuning.datasets.preparation import Preparation, Shard, SourceFile
from finetuning.datasets.scripts import LATIN, script_of
from finetuning.datasets.shard_result import (
    MAX_ERRORS,
    SAMPLES,
    TRAIN,
    VALIDATION,
    LongestRow,
    Sample,
    ShardResult,
    Tally,
    Written,
)
from finetuning.datasets.token_sample import Sampler
from finetuning.datasets.tokens import count_row
from finetuning.datasets.workspace import Workspace
from finetuning.jumpstart.family import Task

RESULT = "result.json"
"""Name of what a shard writes beside its rows."""

LONGEST_KEPT = 32
"""Longest rows that a shard reports: more than are shown, because some may be duplicates of another shard's."""

DIGESTS_AT_ONCE = 600_000
"""Digests that a shard remembers to find duplicates: about 50 MB, just before a set doubles its table. A shard with
more rows forgets them all and starts again; duplicates of forgotten rows are found when the shards are joined.
"""

MAX_LAYOUTS = 4096

NUL = b"\\u0000"
"""As JSON writes it."""


def write_shard(
    preparation: Preparation, shard: Shard, source: BinaryIO, workspace: Workspace, prefix: str
) -> ShardResult:
    """Prepares one shard into `prefix` of the workspace, and writes its result beside its rows."""
    at = prefix + shard.key
    with written(workspace, at + TRAIN) as train, written(workspace, at + VALIDATION) as validation:
        result = prepare_shard(preparation, shard, source, _Side(TRAIN, train), _Side(VALIDATION, validation))
    with workspace.create(at + RESULT) as file:
        file.write(result.model_dump_json().encode())
    return result


def read_results(preparation: Preparation, workspace: Workspace, prefix: str) -> Iterator[ShardResult]:
    """What every shard reported, in order."""
    for shard in preparation.shards:
        with workspace.open(prefix + shard.key + RESULT) as file:
            yield ShardResult.model_validate_json(file.read())


def prepare_shard(
    preparation: Preparation, shard: Shard, source: BinaryIO, train: "_Side", validation: "_Side"
) -> ShardResult:
    """Prepares the rows of one shard. `source` is at byte `max(shard.start - 1, 0)` of the file.

    Rows keep their order. Whether a row is held out depends on its digest alone, so it is the same in every run, in any
    order and with any number of shards.
    """
    file = preparation.files[shard.file]
    if file.detection.framing is Framing.TEXT:
        result = _prepare_text(preparation, shard, _batches(file, shard, source), train)
    else:
        result = _prepare_rows(preparation, file, _batches(file, shard, source), train, validation)
    result.written = {side.channel: side.written for side in (train, validation)}
    return result


def _batches(file: SourceFile, shard: Shard, source: BinaryIO) -> Iterator[Batch]:
    """The records of the shard; if a compressed file is damaged, the last one is an error."""
    unzipped = Gunzip(source) if file.detection.compressed else None
    if unzipped:
        source = cast(BinaryIO, io.BufferedReader(unzipped, CHUNK))
    detection = file.detection
    match detection.framing:
        case Framing.ARRAY:
            found = batches(json_values(source, depth=1))
        case Framing.DOCUMENT:
            found = batches(json_values(source, depth=0))
        case Framing.CSV:
            skip = detection.preamble + detection.has_header
            found = batches(csv_rows(source, detection.delimiter, detection.columns, skip, detection.skips_blanks))
        case _:
            found = lines(source, shard.start, shard.end)
    last = 0
    for batch in found:
        yield batch
        last = batch.numbers[-1]
    if unzipped and unzipped.error:
        yield Batch([last + 1], [unzipped.error])


def _prepare_rows(
    preparation: Preparation, file: SourceFile, found: Iterator[Batch], train: "_Side", validation: "_Side"
) -> ShardResult:
    """The inner loop. It is one function, and does as little as possible per row: a row of 200 bytes takes a few
    microseconds, so one more call or attribute can be measured.
    """
    converter = Converter(
        task=preparation.task,
        convertible=preparation.convertible,
        template=preparation.options.template,
        text_column=file.text_column,
        repair=preparation.options.repair,
        columns=preparation.options.data.columns,
        untrained=preparation.options.data.untrained_answers,
    )
    drops_marked = preparation.options.data.untrained_answers == "drop"
    framing = file.detection.framing
    result = ShardResult()
    tally = result.tally
    chat = preparation.task is Task.CHAT
    threshold = preparation.held_out_below(file)
    convert, loads, dumps, append_newline = converter.convert, orjson.loads, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    as_int = int.from_bytes
    sampler = Sampler(partial(count_row, preparation), preparation.row_limit)
    signer = Signer(preparation) if preparation.compares_rows else None
    to_train, to_train_digests = train.rows.append, train.digests.append
    to_validation, to_validation_digests = validation.rows.append, validation.digests.append
    seen: set[int] = set()
    refused: dict[bytes, ErrorCode] = {}
    layouts: set[tuple[int, int]] = set()
    plain = PlainBatches(layouts, seen)
    longest: list[tuple[int, int, bytes]] = []
    floor = turns = characters = duplicates = 0

    for numbers, records in found:
        if len(seen) > DIGESTS_AT_ONCE:
            seen.clear()
        if len(records) > DENSE_BATCH:
            tally.lines += len(records)
            numbers, records = _drop_counted(numbers, records, tally, refused)
            tally.lines -= len(records)
            if not records:
                continue
        if chat and len(result.samples) == SAMPLES and (batch := plain.find(records)):
            sizes = list(map(len, batch.written))
            for out, digest, key in zip(batch.written, batch.digests, batch.numbers, strict=True):
                if key < threshold:
                    to_validation(out)
                    to_validation_digests(digest)
                else:
                    to_train(out)
                    to_train_digests(digest)
            if max(sizes) > floor:
                for size, number, digest in zip(sizes, numbers, batch.digests, strict=True):
                    floor = _keep_longest(longest, floor, size, number, digest)
            turns += sum(batch.turns)
            characters += batch.characters
            tally.scripts.update(script for out in batch.written if (script := script_of(out)) != LATIN)
            tally.special_tokens += batch.special_tokens
            converter.took(batch.keys, len(records))
            _flush(tally, (train, validation), sampler, signer)
            tally.lines += len(records)
            continue
        for element, (number, raw) in enumerate(zip(numbers, records, strict=True), tally.lines + 1):
            try:
                if isinstance(raw, bytes):
                    row, read = loads(raw), len(raw)
                elif isinstance(raw, DataError):
                    raise raw
                else:
                    row, read = raw, 0
                converted, said = convert(row)
                out = dumps(converted, None, append_newline)
                size = len(out)
                dialog = converted["dialog"] if chat else ()
                if NUL in out:
                    _refuse_nul(converted, row)
                if read:
                    # Rows of one layout lose the same number of bytes when converted. A row that loses another number
                    # is checked for keys that are there twice.
                    layout = (read - size, len(dialog))
                    if layout not in layouts:
                        if duplicate := duplicate_key(cast(bytes, raw), row):
                            raise DataError(
                                ErrorCode.JSON_DUPLICATE_KEY,
                                f"The key {duplicate} is there twice, with different values.",
                                duplicate,
                            )
                        if len(layouts) < MAX_LAYOUTS:
                            layouts.add(layout)
                            plain.learn(row)
            except orjson.JSONDecodeError as error:
                line = cast(bytes, raw)
                if line.strip():
                    found_wrong = json_error(line, error)
                    if framing is Framing.LINES and is_cut_off(line, found_wrong):
                        found_wrong = DataError(ErrorCode.JSON_TRUNCATED, "The file ends in the middle of this row.")
                    result.refuse(file.name, number, found_wrong, line, element if framing is Framing.ARRAY else 0)
                    if len(line) <= SHORT_LINE and len(result.errors) == MAX_ERRORS and len(refused) < REFUSED_KEPT:
                        refused[line] = found_wrong.code
                else:
                    tally.blank += 1
                continue
            except orjson.JSONEncodeError:
                surrogate = DataError(ErrorCode.JSON_SURROGATE, "Half of a character (a lone surrogate).")
                result.refuse(file.name, number, surrogate, raw)
                continue
            except DataError as error:
                if drops_marked and error.code in MARKED:
                    tally.dropped += 1
                else:
                    result.refuse(file.name, number, error, raw, element if framing is Framing.ARRAY else 0)
                continue

            digest = digest_of(out)
            key = as_int(digest)
            if key in seen:
                duplicates += 1
                continue
            seen.add(key)
            if key < threshold:
                to_validation(out)
                to_validation_digests(digest)
            else:
                to_train(out)
                to_train_digests(digest)
            turns += len(dialog)
            characters += said
            if (script := script_of(out)) != LATIN:
                tally.scripts[script] += 1
            if b"<" in out and has_special_token(out):
                tally.special_tokens += 1
            if size > floor:
                floor = _keep_longest(longest, floor, size, number, digest)
                if len(result.samples) < SAMPLES:  # the first rows are the longest so far
                    _keep_sample(result, digest.hex(), converted)

        _flush(tally, (train, validation), sampler, signer)
        tally.lines += len(records)

    if latin := tally.kept - sum(tally.scripts.values()):
        tally.scripts[LATIN] = latin
    tally.duplicates, tally.turns, tally.characters = duplicates, turns, characters
    tally.shapes, tally.ignored = converter.shapes(), Counter(dict(converter.ignored().most_common(IGNORED_KEPT)))
    tally.repaired, tally.numbers_as_text = converter.dialogs.repaired, converter.numbers_as_text
    tally.empty_systems, tally.marked = converter.dialogs.empty_systems, converter.dialogs.marked
    result.longest = [
        LongestRow(size=size, line=-line, digest=digest.hex()) for size, line, digest in sorted(longest, reverse=True)
    ]
    seen.clear()  # the vocabulary that rows are counted with takes as much memory
    result.sample = sampler.counted()
    return result


def _drop_counted(
    numbers: Sequence[int], records: Sequence[Record], tally: Tally, refused: Mapping[bytes, ErrorCode]
) -> tuple[list[int], list[Record]]:
    """Counts the blank lines of a dense batch, and the lines `refused` before; returns the other records."""
    counted: set[Record] = set()
    for raw, count in Counter(raw for raw in records if isinstance(raw, bytes)).items():
        if raw.isspace():
            tally.blank += count
        elif raw in refused:
            tally.error_counts[refused[raw]] += count
        else:
            continue
        counted.add(raw)
    kept = [number for number, raw in enumerate(records) if isinstance(raw, DataError) or raw not in counted]
    return [numbers[each] for each in kept], [records[each] for each in kept]


def _keep_sample(result: ShardResult, digest: str, row: dict[str, Any]) -> None:
    """Keeps a row to be shown, unless it is a duplicate that the shard has forgotten."""
    if all(sample.digest != digest for sample in result.samples):
        result.samples.append(Sample(digest=digest, row=row))


def _keep_longest(longest: list[tuple[int, int, bytes]], floor: int, size: int, number: int, digest: bytes) -> int:
    """Keeps a row if it is among the longest. Returns the size that the next one must exceed.

    A duplicate that the shard has forgotten is not kept twice.
    """
    if size <= floor or any(digest == kept for _, _, kept in longest):
        return floor
    (heapreplace if len(longest) == LONGEST_KEPT else heappush)(longest, (size, -number, digest))
    return longest[0][0] if len(longest) == LONGEST_KEPT else 0


@dataclass(slots=True)
class _Side:
    """One side of the split: where it is written, the rows of a batch, and what is written so far."""

    channel: str
    sinks: Sinks
    rows: list[bytes] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    written: Written = field(default_factory=Written)


def _flush(tally: Tally, sides: Iterable[_Side], sampler: Sampler, signer: Signer | None) -> None:
    """Writes a batch, counts its rows by their lengths, and offers them to the sample."""
    for side in sides:
        if side.rows:
            sizes = array("I", map(len, side.rows))
            side.sinks.rows.writelines(side.rows)
            side.sinks.digests.write(b"".join(side.digests))
            side.sinks.lengths.write(sizes)
            if signer:
                side.sinks.signatures.write(signer.sign(side.rows, side.digests))
            side.written.rows += len(sizes)
            side.written.size += sum(sizes)
            sampler.offer(side.digests, side.rows, tally.count(side.channel, sizes))
            side.rows.clear()
            side.digests.clear()


def _refuse_nul(converted: Mapping[str, Any], row: Any) -> None:
    """Raises `DataError` if a text that is trained on has a NUL, which tokenizers do not know.

    The characters `\\u0000` may also be written out in a text; that is not a NUL.
    """
    for _, trained_on in texts(converted):
        if "\0" in trained_on:
            where = next((path for path, text in texts(row) if "\0" in text and text in trained_on), "")
            raise DataError(ErrorCode.NUL, "The text has a NUL character.", where)


def _prepare_text(preparation: Preparation, shard: Shard, found: Iterator[Batch], train: _Side) -> ShardResult:
    """Text is not changed: blank lines stay, and no line is a duplicate. All of it is written for training; it is cut
    in two when its whole length is known.
    """
    file = preparation.files[shard.file]
    result = ShardResult()
    tally = result.tally
    sampler = Sampler(partial(count_row, preparation), preparation.row_limit)
    ends_open = False
    for batch in found:
        texts_found: list[bytes] = []
        digests: list[bytes] = []
        for number, raw in zip(*batch, strict=True):
            tally.lines += 1
            error = raw if isinstance(raw, DataError) else _not_utf8(cast(bytes, raw))
            if error:
                result.refuse(file.name, number, error, raw)
                continue
            line = cast(bytes, raw)
            train.written.size += train.sinks.rows.write(line)
            ends_open = not line.endswith(b"\n")
            if line.isspace():
                tally.blank += 1
                continue
            text = line.decode()
            digest = digest_of(b"%d:%d" % (shard.file, number))  # of the place: equal lines of a text all count
            texts_found.append(line)
            digests.append(digest)
            tally.characters += len(text)
            tally.scripts[script_of(line)] += 1
            if len(result.samples) < SAMPLES:
                result.samples.append(Sample(digest="", row={"text": text.rstrip("\r\n")}))
            if not result.longest or len(line) > result.longest[0].size:
                result.longest = [LongestRow(size=len(line), line=number, digest=digest.hex())]
        lengths = tally.count(TRAIN, map(len, texts_found))
        sampler.offer(digests, texts_found, lengths)
    if ends_open and shard.file + 1 < len(preparation.files):
        train.written.size += train.sinks.rows.write(b"\n")
    tally.shapes["text"] = tally.train
    result.sample = sampler.counted()
    return result


def _not_utf8(line: bytes) -> DataError | None:
    if line.isascii():
        return None
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return undecodable(line, error)
    return None
