"""The reduce: from what the shards wrote to the two channels JumpStart takes, and the report.

Rows that an earlier shard has too are dropped here, by their digests: the first shard and the first row in it win, as
if one shard had read it all. Whole outputs of shards are joined by copying; only one that loses a row is read again.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from operator import itemgetter
from typing import Any, BinaryIO

import orjson

from finetuning.datasets.data_errors import FIXES, ErrorCode
from finetuning.datasets.dataset_report import (
    LONGEST,
    MAX_ERRORS,
    TRAIN,
    VALIDATION,
    DatasetReport,
    FileReport,
    LineError,
    LongRow,
    Refusal,
    ShardResult,
    Statistics,
    Tally,
    tokens_of,
)
from finetuning.datasets.preparation import Preparation, Shard
from finetuning.datasets.shard import (
    BREAKS_OFF,
    DIGEST_BYTES,
    DIGESTS_AT_ONCE,
    SAMPLES,
    Measure,
    Sinks,
    measure,
    prepare_shard,
    template_bytes,
)
from finetuning.datasets.templates import Template, chat_text, fill, instruction_text
from finetuning.datasets.workspace import Piece, Workspace
from finetuning.jumpstart.family import Message

DIGESTS = ".digests"
RESULT = "result.json"
MAX_PASSES = 256
"""Passes over all digests, told apart by their last byte; from 150 million rows on it takes more memory instead."""

TEXT_CANDIDATES = 200
"""Held-out lines of a text looked at for prompts: some may stand in the trained part, too."""


def write_shard(
    preparation: Preparation, shard: Shard, source: BinaryIO, workspace: Workspace, prefix: str
) -> ShardResult:
    """Prepares one shard into `prefix` of the workspace, its result beside its rows."""
    at = prefix + shard.key
    with (
        workspace.create(at + TRAIN) as train,
        workspace.create(at + VALIDATION) as validation,
        workspace.create(at + TRAIN + DIGESTS) as train_digests,
        workspace.create(at + VALIDATION + DIGESTS) as validation_digests,
    ):
        result = prepare_shard(preparation, shard, source, Sinks(train, validation, train_digests, validation_digests))
    with workspace.create(at + RESULT) as file:
        file.write(result.model_dump_json().encode())
    return result


def read_results(preparation: Preparation, workspace: Workspace, prefix: str) -> list[ShardResult]:
    results = []
    for shard in preparation.shards:
        with workspace.open(prefix + shard.key + RESULT) as file:
            results.append(ShardResult.model_validate_json(file.read()))
    return results


def finish(preparation: Preparation, workspace: Workspace, shards: str, dataset: str) -> DatasetReport:
    """Writes the channels `train/` and `validation/` under the prefix `dataset` and returns the report.

    Where the report refuses the data nothing is written. A channel has one data file, and template.json for an
    instruction dataset; without validation rows there is no validation channel.
    """
    if preparation.resolution.refusal:
        return refused(preparation, preparation.resolution.refusal, preparation.resolution.message)
    return _Finish(preparation, workspace, shards, dataset).run()


@dataclass
class _Output:
    """What a shard wrote for a channel, and the ordinals of its rows that are not to be used."""

    key: str
    dropped: set[int] = field(default_factory=set)


@dataclass
class _Finish:
    preparation: Preparation
    workspace: Workspace
    shards: str
    dataset: str

    def run(self) -> DatasetReport:
        results = read_results(self.preparation, self.workspace, self.shards)
        tally = Tally()
        for result in results:
            tally.add(result.tally)
        channels = self._cut_text(tally) if self.preparation.is_text else self._join_rows(tally)
        report = self._report(results, tally)
        if report.ok:
            self._write(channels)
        return report

    # -- rows --------------------------------------------------------------------------------------------------------

    def _join_rows(self, tally: Tally) -> dict[str, list[Piece]]:
        """The pieces of each channel: every shard's output in order, without the rows an earlier one has."""
        outputs = {
            channel: [_Output(self.shards + shard.key + channel) for shard in self.preparation.shards]
            for channel in (TRAIN, VALIDATION)
        }
        if len(self.preparation.shards) > 1 or tally.kept > DIGESTS_AT_ONCE:
            for channel, of_shards in outputs.items():
                self._drop_duplicates(channel, of_shards, tally)
        moved = self._fill_empty_side(outputs, tally)
        return {channel: [*map(self._piece, outputs[channel]), *moved[channel]] for channel in outputs}

    def _drop_duplicates(self, channel: str, outputs: Sequence[_Output], tally: Tally) -> None:
        """Marks rows that an earlier shard has, or their own had when it began anew; equal rows share a channel."""
        rows = sum(self.workspace.size(output.key + DIGESTS) for output in outputs) // DIGEST_BYTES
        passes = min(-(-rows // DIGESTS_AT_ONCE), MAX_PASSES)
        for turn in range(passes):
            seen: set[bytes] = set()
            for output in outputs:
                for ordinal, digest in self._digests(output, turn, passes):
                    if digest in seen:
                        output.dropped.add(ordinal)
                    seen.add(digest)
        for output in outputs:
            if output.dropped:
                self._take_out(output, channel, tally)

    def _digests(self, output: _Output, turn: int = 0, passes: int = 1) -> Iterator[tuple[int, bytes]]:
        """The digests of an output with the ordinals of their rows; of several passes each has its turn in one."""
        due = bytes(byte % passes == turn for byte in range(256))
        first = 0
        with self.workspace.open(output.key + DIGESTS) as file:
            while block := file.read(DIGEST_BYTES << 12):
                ends = block[DIGEST_BYTES - 1 :: DIGEST_BYTES]
                for at in compress(range(len(ends)), ends.translate(due)):
                    yield first + at, block[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]
                first += len(ends)

    def _take_out(self, output: _Output, channel: str, tally: Tally) -> None:
        """Takes dropped rows out of the statistics; they are duplicates now."""
        for line in self._lines(output, output.dropped):
            row = self._measure(line)
            counted = Tally(
                turns=row.turns,
                characters=row.characters,
                truncated=int(row.tokens > self.preparation.row_limit),
                histogram=Counter({row.tokens.bit_length(): 1}),
                scripts=Counter({row.script: 1}),
                duplicates=-1,
            )
            tally.add(counted, times=-1)
            tally.count(channel, rows=-1, tokens=-row.tokens)

    def _lines(self, output: _Output, ordinals: Collection[int]) -> Iterator[bytes]:
        with self.workspace.open(output.key) as file:
            yield from (line for ordinal, line in enumerate(file) if ordinal in ordinals)

    def _measure(self, line: bytes) -> Measure:
        return measure(line, orjson.loads(line), template_bytes(self.preparation.template))

    def _fill_empty_side(self, outputs: dict[str, list[_Output]], tally: Tally) -> dict[str, list[Piece]]:
        """From two rows on each channel has one: the row with the outermost digest changes sides."""
        moved: dict[str, list[Piece]] = {TRAIN: [], VALIDATION: []}
        if tally.kept < 2 or not self.preparation.validation_threshold or (tally.train and tally.validation):
            return moved
        of, to, outermost = (TRAIN, VALIDATION, min) if tally.train else (VALIDATION, TRAIN, max)
        _, ordinal, output = outermost(
            (
                (digest, ordinal, output)
                for output in outputs[of]
                for ordinal, digest in self._digests(output)
                if ordinal not in output.dropped
            ),
            key=itemgetter(0),
        )
        (line,) = self._lines(output, {ordinal})
        output.dropped.add(ordinal)
        tokens = self._measure(line).tokens
        tally.count(of, rows=-1, tokens=-tokens)
        tally.count(to, rows=1, tokens=tokens)
        key = self.shards + "moved"
        with self.workspace.create(key) as file:
            file.write(line)
        moved[to] = [Piece(key, 0, len(line))]
        return moved

    def _piece(self, output: _Output) -> Piece:
        """A shard's output; where rows are dropped, a copy without them."""
        key = output.key
        if output.dropped:
            key += ".unique"
            with self.workspace.open(output.key) as source, self.workspace.create(key) as into:
                into.writelines(line for ordinal, line in enumerate(source) if ordinal not in output.dropped)
        return Piece(key, 0, self.workspace.size(key))

    # -- text --------------------------------------------------------------------------------------------------------

    def _cut_text(self, tally: Tally) -> dict[str, list[Piece]]:
        """The text cut in two at the end of a line: what is held out is its tail, for a text is read in its order."""
        pieces = [self._piece(_Output(self.shards + shard.key + TRAIN)) for shard in self.preparation.shards]
        length = sum(piece.end for piece in pieces)
        if tally.kept < 2 or not self.preparation.validation_fraction:
            return {TRAIN: pieces, VALIDATION: []}
        wanted = length - max(int(length * self.preparation.validation_fraction), 1)
        cut = self._start_of_line(pieces, wanted)
        train, validation = _split(pieces, cut)
        for line in self._text_lines(validation):
            if not line.isspace():
                tokens = tokens_of(len(line))
                tally.count(TRAIN, rows=-1, tokens=-tokens)
                tally.count(VALIDATION, rows=1, tokens=tokens)
        return {TRAIN: train, VALIDATION: validation}

    def _start_of_line(self, pieces: Sequence[Piece], wanted: int) -> int:
        """Where the last line starts that begins at or before `wanted`, or the first after it where there is none.

        It has text before it and after it: both sides get a line that is not blank.
        """
        first = last = None
        position, seen = 0, False
        for line in self._text_lines(pieces):
            if not line.isspace():
                if seen:
                    first = first or position
                    if position <= wanted:
                        last = position
                    else:
                        break
                seen = True
            position += len(line)
        return last or first or position

    def _text_lines(self, pieces: Sequence[Piece]) -> Iterator[bytes]:
        for piece in pieces:
            with self.workspace.open(piece.key, piece.start) as file:
                position = piece.start
                while position < piece.end and (line := file.readline()):
                    position += len(line)
                    yield line

    # -- the outcome -------------------------------------------------------------------------------------------------

    def _write(self, channels: dict[str, list[Piece]]) -> None:
        for channel, pieces in channels.items():
            if sum(piece.end - piece.start for piece in pieces):
                folder = f"{self.dataset}{channel}/"
                self.workspace.assemble(folder + self.preparation.data_file, pieces)
                if self.preparation.template:
                    with self.workspace.create(folder + "template.json") as file:
                        file.write(orjson.dumps(self.preparation.template))

    def _report(self, results: Sequence[ShardResult], tally: Tally) -> DatasetReport:
        report = _outline(self.preparation)
        first_line: dict[int, int] = {}
        offsets = []
        for shard, result in zip(self.preparation.shards, results, strict=True):
            offsets.append(first_line.get(shard.file, 0))
            first_line[shard.file] = offsets[-1] + result.tally.lines
            for error in result.errors[: MAX_ERRORS - len(report.errors)]:
                report.errors.append(error.model_copy(update={"line": error.line + offsets[-1]}))
        for number, file in enumerate(report.files):
            file.lines = first_line.get(number, 0)
        report.rows = tally.rows()
        report.error_counts = dict(tally.error_counts.most_common())
        report.shapes = dict(tally.shapes.most_common())
        report.ignored_columns = dict(tally.ignored.most_common())
        report.repaired = tally.repaired
        report.statistics = Statistics(
            turns=tally.turns,
            characters=tally.characters,
            tokens=tally.train_tokens + tally.validation_tokens,
            train_tokens=tally.train_tokens,
            validation_tokens=tally.validation_tokens,
            longest=self._longest(results, offsets),
            histogram=tally.buckets(),
            scripts=dict(tally.scripts.most_common()),
            max_input_length=self.preparation.max_input_length,
            truncated=tally.truncated,
        )
        samples = {
            sample.digest or index: sample.row for result in results for index, sample in enumerate(result.samples)
        }
        report.samples = [rendered(row, self.preparation.template) for row in list(samples.values())[:SAMPLES]]
        report.notes = list(_notes(self.preparation, report, tally))
        report.refusal = _refusal(self.preparation, report, [result.broken_off for result in results])
        return report

    def _longest(self, results: Sequence[ShardResult], offsets: Sequence[int]) -> list[LongRow]:
        found: dict[str, LongRow] = {}
        for shard, result, offset in zip(self.preparation.shards, results, offsets, strict=True):
            name = self.preparation.files[shard.file].name
            for row in result.longest:
                line = row.line + offset
                found.setdefault(row.digest or f"{name}:{line}", LongRow(file=name, line=line, tokens=row.tokens))
        return sorted(found.values(), key=lambda row: -row.tokens)[:LONGEST]


def _split(pieces: Sequence[Piece], cut: int) -> tuple[list[Piece], list[Piece]]:
    """The pieces before and after byte `cut` of all of them together."""
    before, after = [], []
    for piece in pieces:
        middle = min(max(piece.start + cut, piece.start), piece.end)
        cut -= piece.end - piece.start
        before.append(piece._replace(end=middle))
        after.append(piece._replace(start=middle))
    return [piece for piece in before if piece.end > piece.start], [piece for piece in after if piece.end > piece.start]


def refused(preparation: Preparation, code: ErrorCode, message: str) -> DatasetReport:
    """The report of data that was not read at all."""
    report = _outline(preparation)
    report.task = None
    for file in preparation.files:
        if file.detection.refusal:
            report.errors.append(
                LineError(
                    file=file.name,
                    line=0,
                    path="",
                    code=file.detection.refusal,
                    message=file.detection.message,
                    fix=FIXES[file.detection.refusal],
                )
            )
    report.error_counts = dict(Counter(error.code for error in report.errors))
    report.refusal = Refusal(code=code, message=message, fix=FIXES[code])
    return report


def _outline(preparation: Preparation) -> DatasetReport:
    return DatasetReport(
        files=[
            FileReport(
                path=file.name,
                format=file.detection.format,
                compressed=file.detection.compressed,
                shape=file.detection.shape,
                why=file.detection.why,
                size=file.size,
            )
            for file in preparation.files
        ],
        task=preparation.task,
        task_reason=preparation.resolution.why,
        template=preparation.template,
        max_error_fraction=preparation.max_error_fraction,
        validation_fraction=preparation.validation_fraction,
    )


def _refusal(preparation: Preparation, report: DatasetReport, broken_off: Sequence[bool]) -> Refusal | None:
    """Why the data is not trained on: a file that breaks off, nothing usable, or too many errors."""
    rows = report.rows
    for shard, broken in zip(preparation.shards, broken_off, strict=True):
        if broken:
            code = next(code for code in BREAKS_OFF if code in report.error_counts)
            name = preparation.files[shard.file].name
            return Refusal(code=code, message=f"{name} breaks off: what followed is not known.", fix=FIXES[code])
    if not rows.kept:
        code, share = ErrorCode.NOTHING_USABLE, f"None of the {rows.lines:,} lines can be used"
    elif rows.errors > preparation.max_error_fraction * (rows.lines - rows.blank):
        code = ErrorCode.TOO_MANY_ERRORS
        percent = 100 * rows.errors / (rows.lines - rows.blank)
        share = (
            f"{rows.errors:,} of {rows.lines:,} lines cannot be used ({percent:.1f} %, "
            f"{100 * preparation.max_error_fraction:g} % are allowed)"
        )
    else:
        return None
    # Where and which error, but no word of the row: what is raised ends in logs and in notifications.
    first = "; ".join(f"{error.file} line {error.line}: {error.code}" for error in report.errors[:3])
    more = f" … and {rows.errors - 3:,} more" if rows.errors > 3 else ""
    return Refusal(code=code, message=f"{share}. {first}{more}".strip(), fix=FIXES[code])


def _notes(preparation: Preparation, report: DatasetReport, tally: Tally) -> Iterator[str]:
    """What a user should know though nothing is wrong."""
    if report.rows.kept and not report.rows.validation:
        yield "Nothing is held out for validation: " + (
            "there is only one row." if report.rows.kept == 1 else "validation_fraction is 0."
        )
    if preparation.is_text and report.rows.validation:
        yield "The text is kept as it is; its tail is held out for validation, for a text is read in its order."
    if tally.repaired:
        yield f"In {tally.repaired:,} conversations a last user turn without an answer was dropped."
    if tally.numbers_as_text:
        yield f"{tally.numbers_as_text:,} numbers in the template's columns were written as text."
    if any("preference" in shape for shape in tally.shapes) or "rejected" in tally.ignored:
        yield "Of preference pairs the chosen answer is trained on; the rejected one is left out."
    for file in preparation.files:
        if file.text_column:
            yield f"{file.name}: the text is taken from the column {file.text_column}."


def rendered(row: Mapping[str, Any], template: Template | None) -> str:
    """A converted row as the model sees it in training."""
    if "dialog" in row:
        return chat_text(row["dialog"], add_generation_prompt=False)
    if template:
        return instruction_text(template, row) + fill(template["completion"], row)
    return str(row["text"])


def held_out_prompts(
    preparation: Preparation, workspace: Workspace, dataset: str, count: int
) -> Iterator[dict[str, Any]]:
    """The first `count` validation rows as prompts with their references, for the evaluation of the tuned model.

    `{prompt, messages, reference}`: `prompt` is the text for `inputs`, `messages` the dialog before the answer
    (chat only). Of a text the first half of a line is the prompt, the other half the reference; a line that the trained
    part holds, too, was not held out and is passed over.
    """
    key = f"{dataset}{VALIDATION}/{preparation.data_file}"
    with workspace.open(key) as file:
        lines = (line for line in file if line.strip())
        if preparation.is_text:
            trained_on = f"{dataset}{TRAIN}/{preparation.data_file}"
            for line in islice(_unseen(islice(lines, TEXT_CANDIDATES), workspace, trained_on), count):
                yield _continuation(line.decode())
        else:
            for line in islice(lines, count):
                yield _prompt(orjson.loads(line), preparation.template)


def _unseen(lines: Iterable[bytes], workspace: Workspace, trained_on: str) -> Iterator[bytes]:
    """The lines, stripped and each once, that the other file does not hold."""
    candidates = dict.fromkeys(line.strip() for line in lines)
    with workspace.open(trained_on) as file:
        for line in file:
            candidates.pop(line.strip(), None)
    yield from candidates


def _prompt(row: Mapping[str, Any], template: Template | None) -> dict[str, Any]:
    if "dialog" in row:
        messages: list[Message] = row["dialog"][:-1]
        reference = row["dialog"][-1]["content"]
        prompt = chat_text(messages, add_generation_prompt=True)
        return {"prompt": prompt, "messages": messages, "reference": reference}
    if template:
        prompt, reference = instruction_text(template, row), fill(template["completion"], row)
        return {"prompt": prompt, "messages": None, "reference": reference}
    return _continuation(row["text"])


CONTINUATION = 400
"""Characters of a text given to the model, and as many to compare its continuation with."""


def _continuation(text: str) -> dict[str, Any]:
    half = min(len(text) // 2, CONTINUATION)
    cut = text.rfind(" ", 1, half + 1)
    cut = cut if cut > 0 else max(half, 1)
    prompt, reference = text[:cut], text[cut : cut + CONTINUATION]
    return {"prompt": prompt, "messages": None, "reference": reference}
