"""dataset.json: what the data contains, what happened to every line, and what the model will see."""

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter

from pydantic import Field

from finetuning.datasets.data_errors import BREAKS_OFF, FIXES, MARKED, ErrorCode
from finetuning.datasets.limits import COMPARED_UNASKED, IGNORED_LISTED, MAX_COMPARED, SAMPLE_SHOWN
from finetuning.datasets.preparation import Preparation
from finetuning.datasets.shard_result import (
    MAX_ERRORS,
    SAMPLES,
    TEST,
    TRAIN,
    VALIDATION,
    LineError,
    Rows,
    ShardResult,
    Tally,
)
from finetuning.datasets.sides import Side
from finetuning.datasets.templates import Template, rendered
from finetuning.datasets.token_sample import TokenSample, estimate_tokens, row_tokens
from finetuning.datasets.tokens import how_counted
from finetuning.datasets.understanding import understood
from finetuning.jumpstart.family import Task
from finetuning.lazy_model import LazyModel

LONGEST = 5
CODES_NAMED = 3
"""Codes of errors that the reason of a refusal names, the most frequent first."""


class LongRow(LazyModel):
    file: str
    line: int
    tokens: int


class Bucket(LazyModel):
    """Rows of `at_least` to `below` tokens."""

    at_least: int
    below: int
    rows: int


class Statistics(LazyModel):
    """Of the rows kept, as the model sees them. `truncated`: rows longer than `max_input_length` tokens, which training
    cuts off; `trained_tokens`: what it leaves of the training rows. `tokens_from`: how tokens were counted.
    """

    turns: int = 0
    characters: int = 0
    tokens: int = 0
    train_tokens: int = 0
    validation_tokens: int = 0
    test_tokens: int = 0
    trained_tokens: int = 0
    longest: list[LongRow] = Field(default_factory=list)
    histogram: list[Bucket] = Field(default_factory=list)
    scripts: dict[str, int] = Field(default_factory=dict)
    max_input_length: int | None = None
    truncated: int = 0
    tokens_from: str = ""


class NearDuplicates(LazyModel):
    """Rows that nearly repeat another one, by MinHash. `repeated`: of the training, an earlier row of it;
    `near_held_out`: of the training, a held-out row; `leaked`: held-out rows that nearly stand in the training.
    `dropped`: training rows left out for it.
    """

    repeated: int = 0
    near_held_out: int = 0
    leaked: int = 0
    dropped: int = 0


class FileReport(LazyModel):
    """A file of the upload: what it is, and how that was recognised."""

    path: str
    format: str | None
    compressed: bool
    shape: str
    why: str
    lines: int = 0
    size: int = 0
    side: str = Side.SPLIT
    """What it is for: training and validation (`split`), `train`, `validation`, `test`, or `left_out`."""


class Refusal(LazyModel):
    """Why nothing is trained."""

    code: str
    message: str
    fix: str


class DatasetReport(LazyModel):
    """dataset.json. `errors` are the first `MAX_ERRORS`; `error_counts` counts all of them by code."""

    files: list[FileReport]
    task: Task | None
    task_reason: str
    understood: list[str] = Field(default_factory=list)
    """What was understood of the files and of their columns, a line each."""
    rows: Rows = Field(default_factory=Rows)
    errors: list[LineError] = Field(default_factory=list)
    error_counts: dict[str, int] = Field(default_factory=dict)
    shapes: dict[str, int] = Field(default_factory=dict)
    ignored_columns: dict[str, int] = Field(default_factory=dict)
    repaired: int = 0
    near_duplicates: NearDuplicates | None = None
    """None if they were not looked for."""
    notes: list[str] = Field(default_factory=list)
    statistics: Statistics = Field(default_factory=Statistics)
    template: Template | None = None
    samples: list[str] = Field(default_factory=list)
    """Rows as the model will see them."""
    max_error_fraction: float
    validation_fraction: float
    refusal: Refusal | None = None

    @property
    def ok(self) -> bool:
        return self.refusal is None


def build_report(
    preparation: Preparation,
    results: Sequence[ShardResult],
    tally: Tally,
    sample: TokenSample,
    near: NearDuplicates | None = None,
) -> DatasetReport:
    """The report of prepared data. `results`: one per shard; `tally`: their sum, corrected for duplicates between
    shards and for held-out rows; `sample`: the rows of all shards whose tokens were counted.
    """
    report = _outline(preparation)
    first_line: dict[int, int] = {}
    offsets = []
    for shard, result in zip(preparation.shards, results, strict=True):
        offsets.append(first_line.get(shard.file, 0))
        first_line[shard.file] = offsets[-1] + result.tally.lines
        for error in result.errors[: MAX_ERRORS - len(report.errors)]:
            report.errors.append(error.model_copy(update={"line": error.line + offsets[-1]}))
    for number, file in enumerate(report.files):
        file.lines = first_line.get(number, 0)
    report.rows = Rows(**{name: getattr(tally, name) for name in Rows.model_fields})
    report.error_counts = dict(tally.error_counts.most_common())
    report.shapes = dict(tally.shapes.most_common())
    report.ignored_columns = dict(tally.ignored.most_common(IGNORED_LISTED))
    report.repaired = tally.repaired
    report.near_duplicates = near
    figures = estimate_tokens(sample, tally.lengths, preparation.row_limit)
    report.statistics = Statistics(
        turns=tally.turns,
        characters=tally.characters,
        tokens=sum(figures.tokens.values()),
        train_tokens=figures.tokens[TRAIN],
        validation_tokens=figures.tokens[VALIDATION],
        test_tokens=figures.tokens[TEST],
        trained_tokens=figures.trained,
        longest=_longest(preparation, results, offsets, sample),
        histogram=_histogram(figures.histogram),
        scripts=dict(tally.scripts.most_common()),
        max_input_length=preparation.max_input_length,
        truncated=figures.truncated,
        tokens_from=_tokens_from(preparation, sample, tally.kept),
    )
    samples = {shown.digest or index: shown.row for result in results for index, shown in enumerate(result.samples)}
    report.samples = [
        _shown(rendered(row, preparation.template, preparation.family)) for row in list(samples.values())[:SAMPLES]
    ]
    report.notes += _notes(preparation, report, tally)
    report.refusal = _refusal(preparation, report, [result.broken_off for result in results])
    return report


def refusal_report(preparation: Preparation) -> DatasetReport:
    """The report of data that is refused before its rows are read."""
    resolution = preparation.resolution
    assert resolution.refusal, "the resolution has no refusal"
    report = _outline(preparation)
    report.task = None
    for file in preparation.files:
        if file.detection.refusal and file.side is not Side.LEFT_OUT:
            detection = file.detection
            report.errors.append(_file_error(file.name, file.detection.refusal, detection.message, detection.fix))
    if not report.errors:
        report.errors.append(_file_error(resolution.file, resolution.refusal, resolution.message, resolution.fix))
    report.error_counts = dict(Counter(error.code for error in report.errors))
    report.refusal = Refusal(code=resolution.refusal, message=resolution.message, fix=resolution.fix)
    return report


def _file_error(file: str, code: ErrorCode, message: str, fix: str) -> LineError:
    """An error of a file, or of the upload, as a whole."""
    return LineError(file=file, line=0, path="", code=code, message=message, fix=fix or FIXES[code])


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
                side=file.side,
            )
            for file in preparation.files
        ],
        task=preparation.task,
        task_reason=preparation.resolution.why,
        understood=understood(preparation),
        notes=list(preparation.resolution.notes),
        template=preparation.template,
        max_error_fraction=preparation.options.max_error_fraction,
        validation_fraction=preparation.options.validation_fraction,
    )


def _tokens_from(preparation: Preparation, sample: TokenSample, rows: int) -> str:
    """How the tokens were counted: by what, and in how many rows."""
    counted = sum(map(len, sample.classes.values()))
    how = how_counted(preparation.family)
    return how if counted >= rows else f"{how}, in {counted:,} of {rows:,} rows, chosen by digest for every length"


def _histogram(rows: Counter[int]) -> list[Bucket]:
    """Rows by length, in powers of two, from the bucket of the shortest row to that of the longest."""
    if not rows:
        return []
    digits = range(min(rows), max(rows) + 1)
    return [Bucket(at_least=1 << n >> 1, below=1 << n, rows=rows[n]) for n in digits]


def _longest(
    preparation: Preparation, results: Sequence[ShardResult], offsets: Sequence[int], sample: TokenSample
) -> list[LongRow]:
    """The longest rows in bytes, with their tokens."""
    found: dict[str, tuple[int, int, int]] = {}
    for shard, result, offset in zip(preparation.shards, results, offsets, strict=True):
        for row in result.longest:
            found.setdefault(row.digest, (-row.size, shard.file, row.line + offset))
    longest = sorted(found.items(), key=itemgetter(1))[:LONGEST]
    return sorted(
        (
            LongRow(file=preparation.files[file].name, line=line, tokens=row_tokens(sample, -minus_size, digest))
            for digest, (minus_size, file, line) in longest
        ),
        key=lambda row: -row.tokens,
    )


def _refusal(preparation: Preparation, report: DatasetReport, broken_off: Sequence[bool]) -> Refusal | None:
    """Why the data is not trained on: a file that is incomplete, no usable row, or too many errors."""
    rows = report.rows
    for shard, broken in zip(preparation.shards, broken_off, strict=True):
        if broken:
            code = next(code for code in BREAKS_OFF if code in report.error_counts)
            name = preparation.files[shard.file].name
            return Refusal(
                code=code,
                message=f"{name} is incomplete or damaged, so an unknown number of rows is missing.",
                fix=FIXES[code],
            )
    if rows.lines == rows.blank:
        return Refusal(
            code=ErrorCode.NOTHING_USABLE, message="The data has no rows.", fix="Add rows, or export the data again."
        )
    if not rows.kept:
        code, share = ErrorCode.NOTHING_USABLE, f"0 of {rows.lines:,} lines can be used"
    elif rows.errors > preparation.options.max_error_fraction * (rows.lines - rows.blank):
        code = ErrorCode.TOO_MANY_ERRORS
        percent = 100 * rows.errors / (rows.lines - rows.blank)
        share = (
            f"{rows.errors:,} of {rows.lines:,} lines cannot be used ({percent:.1f} %; "
            f"{100 * preparation.options.max_error_fraction:g} % are allowed)"
        )
    elif not rows.train:
        code, share = ErrorCode.NOTHING_USABLE, f"no row is left to train on: {rows.held_out:,} are held out"
    elif preparation.drops_near_duplicates and report.near_duplicates is None:
        code = ErrorCode.ROWS_TOO_MANY
        share = f"{rows.kept:,} rows are too many to find near-duplicates; {MAX_COMPARED:,} can be compared"
    else:
        return None
    # Only which errors and where, no content of a row: this message is written to logs and notifications.
    first = {error.code: f" (first: {error.where})" for error in reversed(report.errors)}
    counted = [f"{code} {count:,}{first.get(code, '')}" for code, count in report.error_counts.items()]
    more = f" and {len(counted) - CODES_NAMED} other codes" if len(counted) > CODES_NAMED else ""
    kinds = f": {', '.join(counted[:CODES_NAMED])}{more}" if counted else ""
    causes = report.error_counts.keys()
    fix = FIXES[ErrorCode(min(causes))] if causes and causes <= MARKED else FIXES[code]
    return Refusal(code=code, message=f"{share}{kinds}.", fix=fix)


def _near_notes(preparation: Preparation, report: DatasetReport) -> Iterator[str]:
    near, rows = report.near_duplicates, report.rows
    drop = 'Set "data": {"near_duplicates": "drop"} in run.json'
    if near is None:
        if not preparation.is_text:
            size = f"{COMPARED_UNASKED >> 20} MiB"
            yield f"Near-duplicates were not looked for: the upload has more than {size}. {drop} to leave them out."
        return
    if near.dropped:
        yield f"Training rows left out because they nearly repeat another row: {near.dropped:,}."
    elif near.repeated:
        share = f"{near.repeated:,} of {rows.train:,}"
        yield f"Training rows that nearly repeat an earlier one: {share}. {drop} to leave them out."
    if near.leaked and not near.dropped:
        yield (
            f"Held-out rows that nearly stand in the training data: {near.leaked:,} of {rows.held_out:,}. "
            f"An evaluation by them shows what the model has seen. {drop} to leave out the training rows."
        )


def _shown(sample: str) -> str:
    return sample if len(sample) <= SAMPLE_SHOWN else sample[:SAMPLE_SHOWN] + "…"


def _notes(preparation: Preparation, report: DatasetReport, tally: Tally) -> Iterator[str]:
    """What the user should know although nothing is wrong."""
    if report.rows.train and not report.rows.validation:
        yield "No rows are held out for validation: " + (
            "there is only one row." if report.rows.train == 1 else "validation_fraction is 0."
        )
    if preparation.is_text and report.rows.validation:
        yield "The text is kept unchanged. Its end is held out for validation, because the order of a text matters."
    if tally.repaired:
        yield f"Conversations whose last user turn had no answer and was dropped: {tally.repaired:,}."
    if tally.empty_systems:
        yield f"Empty system turns that were left out: {tally.empty_systems:,}."
    near = report.near_duplicates.dropped if report.near_duplicates else 0
    if unlearned := tally.dropped - near - tally.over_budget:
        yield f"Rows left out because an answer in them is marked not to be learned: {unlearned:,}."
    yield from _near_notes(preparation, report)
    if tally.over_budget:
        which = "the beginning of the text" if preparation.is_text else "chosen by their digests"
        yield (
            f"Training rows used: {report.rows.train:,} of {report.rows.train + tally.over_budget:,}, {which}, because "
            f"data.max_tokens is {preparation.options.data.max_tokens:,}."
        )
    if tally.marked:
        yield f"Answers marked not to be learned that are trained on, as `untrained_answers` says: {tally.marked:,}."
    if tally.special_tokens:
        yield (
            f"Rows whose texts have special tokens of a chat template, such as <|eot_id|>: {tally.special_tokens:,}. "
            "The model reads them as the end of a turn, not as text. Remove them unless you mean that."
        )
    if (unlisted := len(tally.ignored) - IGNORED_LISTED) > 0:
        yield f"Unused columns that are not listed: at least {unlisted:,}."
    if tally.numbers_as_text:
        yield f"Numbers in the template's columns that were converted to text: {tally.numbers_as_text:,}."
    if any("preference" in shape for shape in tally.shapes) or "rejected" in tally.ignored:
        yield "Only the chosen answer of a preference pair is trained on; the rejected one is not used."
    for file in preparation.files:
        if file.detection.remark and preparation.task is Task.DOMAIN_ADAPTATION:
            yield f"{file.name}: {file.detection.remark}."
        if file.text_column:
            yield f"{file.name}: the text is in the column {file.text_column}."
