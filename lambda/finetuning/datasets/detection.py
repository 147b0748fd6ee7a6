"""What a file is, from its first bytes; and what a set of files is to be trained for."""

import csv
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from finetuning.datasets.conversion import KIND_OF, KINDS
from finetuning.datasets.data_errors import FIXES, DataError, ErrorCode
from finetuning.datasets.dialogs import ROLE_KEYS, Dialogs
from finetuning.datasets.framing import BOM, MAX_LINE, Record, json_values, lines
from finetuning.datasets.shapes import (
    BARE,
    COMPLETION,
    CONTEXT,
    CONVERSATION,
    HISTORY,
    INPUT,
    INSTRUCTION,
    PROMPT,
    SYSTEM_KEYS,
    Kind,
    QuestionAndAnswer,
    is_either,
    kind_of,
    shape_of,
)
from finetuning.jumpstart.family import Task

HEAD_BYTES = 1 << 20
"""As much of a file as `detect` wants to see."""

HEAD_ROWS = 200


class Format(StrEnum):
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TEXT = "txt"
    PARQUET = "parquet"


class Framing(StrEnum):
    """How records lie in the file. Lines alone can be cut into byte ranges."""

    LINES = "lines"
    ARRAY = "array"
    DOCUMENT = "document"
    CSV = "csv"
    TEXT = "text"
    PARQUET = "parquet"


class Detection(BaseModel):
    """What a file turned out to be, and why. `refusal` is a code of `ErrorCode` where it cannot be used at all."""

    model_config = ConfigDict(frozen=True)

    format: Format | None = None
    framing: Framing = Framing.LINES
    compressed: bool = False
    shape: str = ""
    kinds: dict[Kind, int] = {}
    """Rows of the head, by what they are."""
    history: bool = False
    """Whether instruction rows come with earlier turns, which only chat can hold."""
    columns: tuple[str, ...] = ()
    has_header: bool = False
    delimiter: str = ""
    text_columns: tuple[str, ...] = ()
    """Columns that read like text."""
    is_table: bool = False
    """Whether the rows come from CSV or Parquet, where any column may hold the text."""
    why: str = ""
    refusal: ErrorCode | None = None
    message: str = ""

    @property
    def fix(self) -> str:
        return FIXES[self.refusal] if self.refusal else ""

    @property
    def splittable(self) -> bool:
        return self.framing is Framing.LINES and not self.compressed


_SIGNATURES = {
    b"PK\x03\x04": "a zip archive (or an Excel or Word file)",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x89HDF": "HDF5",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
SUFFIXES = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.TEXT,
    ".parquet": Format.PARQUET,
}
"""Names by which a file is taken for data, lower-case; each may be followed by `.gz`."""


def detect(head: bytes, name: str, size: int, *, is_table: bool = False) -> Detection:
    """What the file `name` of `size` bytes is, by its first `HEAD_BYTES`. Never raises: a refusal is in the answer.

    `is_table`: the rows were a table's, before they were written as JSONL.
    """
    whole = len(head) >= size
    try:
        compressed = head.startswith(b"\x1f\x8b")
        if compressed:
            head, whole = _inflated(head)
            name = name.removesuffix(".gz")
        _refuse_strangers(head, size)
        suffix = PurePosixPath(name.lower()).suffix
        detection = _detected(head.removeprefix(BOM), suffix, whole)
    except DataError as error:
        return Detection(refusal=error.code, message=error.message)
    is_table = is_table or detection.framing is Framing.CSV
    return detection.model_copy(update={"compressed": compressed, "is_table": is_table})


def detect_reframed(head: bytes, size: int) -> Detection:
    """What a Parquet file holds, by the head of the JSON Lines it was written out to."""
    detection = detect(head, ".jsonl", size, is_table=True)
    return detection.model_copy(update={"format": Format.PARQUET, "why": f"it starts with PAR1; {detection.why}"})


def _inflated(head: bytes) -> tuple[bytes, bool]:
    """The head of what was compressed, and whether that is all of it."""
    stream = zlib.decompressobj(wbits=31)
    try:
        return stream.decompress(head, HEAD_BYTES), stream.eof
    except zlib.error as error:
        raise DataError(ErrorCode.COMPRESSION, f"The gzip stream is damaged: {error}.") from error


def _refuse_strangers(head: bytes, size: int) -> None:
    """Raises for a file that is no data: empty, a pointer, a web page, an archive, or text that is not UTF-8."""
    text = head.removeprefix(BOM).lstrip()
    if not size or not text:
        raise DataError(ErrorCode.FILE_EMPTY, "The file is empty.")
    if head.startswith(_WIDE):
        raise DataError(ErrorCode.ENCODING, f"The file is {'UTF-32' if head[:4].count(0) > 1 else 'UTF-16'}.")
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature):
            raise DataError(ErrorCode.ARCHIVE, f"The file is {what}.")
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        raise DataError(
            ErrorCode.GIT_LFS_POINTER, "The file is a git-LFS pointer: a note of where the data is, not the data."
        )
    if re.match(rb"<(!doctype|html|head|\?xml|error)\b", text[:100].lower()):
        raise DataError(ErrorCode.WEB_PAGE, "The file is a web page (or an error page) in place of the data.")
    sample = head[:4096]
    if not head.startswith(b"PAR1") and sample.count(0) > len(sample) // 5:
        wide = "UTF-32" if sample.count(0) > len(sample) // 2 else "UTF-16"
        raise DataError(
            ErrorCode.ENCODING, f"The file is full of NUL bytes: {wide} without a byte-order mark, or binary."
        )


def _detected(head: bytes, suffix: str, whole: bool) -> Detection:
    named = SUFFIXES.get(suffix)
    if head.startswith(b"PAR1"):
        return Detection(format=Format.PARQUET, framing=Framing.PARQUET, why="it starts with PAR1")
    if named is Format.PARQUET:
        raise DataError(
            ErrorCode.FORMAT_UNKNOWN, "The file is named .parquet and is none: PAR1 is missing at its start."
        )
    if named is Format.TEXT:
        return Detection(format=named, framing=Framing.TEXT, shape="text", kinds={Kind.TEXT: 1}, why="it is named .txt")
    if named is Format.CSV:
        return _csv(head, suffix, whole)
    if named is None and head.lstrip()[:1] not in (b"{", b"["):
        raise DataError(ErrorCode.FORMAT_UNKNOWN, "Neither the name nor the content tells what the file is.")
    framing, why = _json_framing(head, whole)
    format_ = Format.JSONL if framing is Framing.LINES else Format.JSON
    rows = [row for row in map(_loads, _values(head, framing)) if isinstance(row, dict | list)]
    return _shaped(rows, format=format_, framing=framing, why=why)


def _json_framing(head: bytes, whole: bool) -> tuple[Framing, str]:
    """Lines where most lines are whole values; else an array of rows, or values spread over lines."""
    every = head.split(b"\n")
    sample = [line for line in (every if whole else every[:-1]) if line.strip()][:20]
    by_line = sum(isinstance(_loads(line), dict | list) for line in sample) * 2 >= max(len(sample), 1)
    if head.lstrip()[:1] == b"[":
        first = next((_loads(value) for value in _values(head, Framing.ARRAY)), None)
        one_dialog = isinstance(first, dict) and any(key in first for key in ROLE_KEYS)
        if by_line and (one_dialog or len(sample) > 1):
            return Framing.LINES, "every line is a JSON array"
        if one_dialog:
            return Framing.DOCUMENT, "it is one JSON array of turns"
        return Framing.ARRAY, "it is a JSON array of rows"
    if by_line or len(sample) < 2 or not _left_open(sample[0]):
        return Framing.LINES, "every line is a JSON value"
    return Framing.DOCUMENT, "its JSON objects are spread over several lines"


def _left_open(line: bytes) -> bool:
    return line.count(b"{") + line.count(b"[") > line.count(b"}") + line.count(b"]")


def _values(head: bytes, framing: Framing) -> Iterator[bytes]:
    """The first records of the head that can be cut out of it."""
    reader = io.BufferedReader(io.BytesIO(head))
    if framing is Framing.LINES:
        records: Iterator[Record] = (record for batch in lines(reader) for record in batch.records)
    else:
        records = (record for _, record in json_values(reader, 1 if framing is Framing.ARRAY else 0))
    return (value for value in islice(records, HEAD_ROWS) if isinstance(value, bytes))


def _loads(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _shaped(rows: Sequence[Any], **known: Any) -> Detection:
    """The detection of rows: their shapes and kinds, and the columns with text where they are a table."""
    shapes: Counter[str] = Counter()
    kinds: Counter[Kind] = Counter()
    history = False
    dialogs = Dialogs()
    for row in rows:
        keys = tuple(row) if isinstance(row, dict) else BARE
        shape = shape_of(keys)
        if shape is None:
            continue
        try:
            kind = kind_of(shape.read(row, dialogs))
        except DataError:
            kind = shape.kind
        history = history or (isinstance(shape, QuestionAndAnswer) and kind is Kind.DIALOG and bool(row.get(HISTORY)))
        shapes[shape.label(keys, kind)] += 1
        kinds[Kind.DIALOG if is_either(kind, keys) else kind] += 1
    tables = [row for row in rows if isinstance(row, dict)]
    known.setdefault("columns", tuple(tables[0]) if tables else ())
    texts = tuple(column for column in known["columns"] if _holds_text([row.get(column) for row in tables]))
    known["why"] += f"; {_told(shapes, len(rows), known['columns'])}"
    shape_name = shapes.most_common(1)[0][0] if shapes else ""
    return Detection(shape=shape_name, kinds=dict(kinds), history=history, text_columns=texts, **known)


def _told(shapes: Counter[str], rows: int, columns: Sequence[str]) -> str:
    if not shapes:
        return f"no known layout in the first {rows} rows" + (f" (columns {', '.join(columns)})" if columns else "")
    return f"of the first {rows} rows " + ", ".join(f"{count} are: {shape}" for shape, count in shapes.most_common())


def _holds_text(values: Sequence[Any]) -> bool:
    """Whether a column reads like sentences: mostly strings of several words, 20 characters and more on average."""
    texts = [value for value in values if isinstance(value, str) and value]
    wordy = sum(" " in text.strip() or not text.isascii() for text in texts)
    return 2 * wordy > len(values) and sum(map(len, texts)) >= 20 * len(texts)


_DELIMITERS = ",\t;|"
_KNOWN_COLUMNS = frozenset(
    (*CONVERSATION, *PROMPT, *COMPLETION, *SYSTEM_KEYS, INSTRUCTION, INPUT, CONTEXT, HISTORY, "text", "rejected")
)
_NAME = re.compile(r"[^\W\d][\w-]{0,40}")


def _csv(head: bytes, suffix: str, whole: bool) -> Detection:
    """A table: its delimiter by what makes rows of one width, its header by known names or by looking like names."""
    text = head.decode(errors="replace")
    csv.field_size_limit(MAX_LINE)
    delimiter = max(_DELIMITERS, key=lambda each: _evenness(_csv_head(text, each, whole)))
    rows = _csv_head(text, delimiter, whole)
    if not rows:
        raise DataError(ErrorCode.CSV_INVALID, "No row of the file can be read as CSV.")
    first = [_column_name(cell) for cell in rows[0]]
    has_header = _is_header(first, rows[1:])
    columns = first if has_header else {1: ["text"], 2: ["question", "answer"]}.get(len(first), [])
    if not columns:
        shown = ", ".join(cell[:30] for cell in rows[0][:6])
        raise DataError(
            ErrorCode.COLUMNS_UNKNOWN, f"The file has {len(first)} columns and no header; it starts with {shown}."
        )
    if len(set(columns)) < len(columns):
        raise DataError(ErrorCode.COLUMNS_UNKNOWN, f"Two columns have one name: {', '.join(columns)}.")
    body = [dict(zip(columns, row, strict=True)) for row in rows[has_header:] if len(row) == len(columns)]
    header = "with a header" if has_header else "without a header"
    why = f"it is named {suffix} and delimited by {delimiter!r}, {header}"
    detection = _shaped(
        body,
        format=Format.CSV,
        framing=Framing.CSV,
        why=why,
        columns=tuple(columns),
        has_header=has_header,
        delimiter=delimiter,
    )
    return detection.model_copy(update={"text_columns": tuple(columns)}) if len(columns) == 1 else detection


def _csv_head(text: str, delimiter: str, whole: bool) -> list[list[str]]:
    """The first rows. A row that cannot be read ends them here; the preparation, which reads all, tells of it."""
    rows, readable = [], True
    try:
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), HEAD_ROWS + 1):
            rows.append(row)
    except csv.Error:
        readable = False
    if readable and not whole and len(rows) <= HEAD_ROWS:
        rows = rows[:-1]  # the head may end within it
    return [row for row in rows if row]


def _evenness(rows: Sequence[Sequence[str]]) -> tuple[bool, int]:
    """Whether nine rows of ten are as wide as the first, and how wide."""
    if not rows or len(rows[0]) < 2:
        return False, 0
    width = len(rows[0])
    even = sum(len(row) == width for row in rows) * 10 >= len(rows) * 9
    return even, width if even else 0


def _column_name(cell: str) -> str:
    """The column's name; one of ours whatever its capitals."""
    name = cell.strip()
    return name.lower() if name.lower() in _KNOWN_COLUMNS else name


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    if any(name in _KNOWN_COLUMNS for name in first):
        return True
    looks_named = all(_NAME.fullmatch(name) for name in first)
    return looks_named and not all(_NAME.fullmatch(cell) for row in rows[:20] for cell in row if cell)


class Resolution(BaseModel):
    """What an upload is trained for. `convertible`: see `Converter`. `text_columns`: by file, "" where not needed.

    With a `refusal`, a code of `ErrorCode`, nothing of it can be used.
    """

    model_config = ConfigDict(frozen=True)

    task: Task = Task.CHAT
    convertible: bool = False
    text_columns: tuple[str, ...] = ()
    why: str = ""
    refusal: ErrorCode | None = None
    message: str = ""

    @property
    def fix(self) -> str:
        return FIXES[self.refusal] if self.refusal else ""


def resolve(
    files: Sequence[tuple[str, Detection]],
    task: str = "auto",
    *,
    has_template: bool = False,
    supported: Collection[str] = tuple(Task),
) -> Resolution:
    """What to train the files for, all of them together: what was asked for, else what most of their first rows are.

    `supported`: the tasks the model can be trained for; a model without instruction mode gets instructions as chat.
    """
    for name, detection in files:
        if detection.refusal:
            return Resolution(refusal=detection.refusal, message=f"{name}: {detection.message}")
    framings = {detection.framing for _, detection in files}
    if Framing.TEXT in framings and len(framings) > 1:
        return Resolution(
            refusal=ErrorCode.FILES_MIXED, message="The upload has plain text (.txt) beside rows of data."
        )
    asked = Task.INSTRUCTION if has_template else task
    if Framing.TEXT in framings and asked not in ("auto", Task.DOMAIN_ADAPTATION):
        message = f"Plain text (.txt) is for domain_adaptation, not for {asked}."
        return Resolution(refusal=ErrorCode.TASK_IMPOSSIBLE, message=message)
    if has_template:
        if task not in ("auto", Task.INSTRUCTION):
            return Resolution(
                refusal=ErrorCode.TASK_IMPOSSIBLE, message=f"template.json is for instruction, not for {task}."
            )
        return Resolution(task=Task.INSTRUCTION, text_columns=("",) * len(files), why="the upload has a template.json")
    kinds: Counter[Kind] = sum((Counter(detection.kinds) for _, detection in files), Counter())
    chosen, convertible, why = _chosen(task, kinds, any(detection.history for _, detection in files), supported)
    needs_text = chosen is Task.DOMAIN_ADAPTATION if task != "auto" or kinds else _all_tables(files)
    if not needs_text:
        return Resolution(task=chosen, convertible=convertible, text_columns=("",) * len(files), why=why)
    return _with_text_columns(files, convertible, why)


def _chosen(task: str, kinds: Counter[Kind], history: bool, supported: Collection[str]) -> tuple[Task, bool, str]:
    if task != "auto":
        return Task(task), True, "run.json asks for it"
    if history:
        return Task.CHAT, True, "rows have earlier turns, which an instruction row cannot hold"
    most = max(Kind, key=lambda kind: kinds[kind])
    if not kinds:
        return Task.CHAT, True, "no row was recognised"
    if most is Kind.COLUMNS and Task.INSTRUCTION not in supported:
        return Task.CHAT, True, "the rows are instructions with answers, and the model is tuned on conversations only"
    chosen = next(task for task, kind in KIND_OF.items() if kind is most)
    return chosen, False, f"most of the first rows are {KINDS[most]}"


def _all_tables(files: Sequence[tuple[str, Detection]]) -> bool:
    return all(detection.is_table for _, detection in files)


def _with_text_columns(files: Sequence[tuple[str, Detection]], convertible: bool, why: str) -> Resolution:
    """Domain adaptation, with the column of each table that holds the text."""
    chosen = []
    for name, detection in files:
        if not detection.is_table or "text" in detection.columns:
            chosen.append("")
        elif len(detection.text_columns) == 1:
            chosen.append(detection.text_columns[0])
        else:
            several = "several columns hold text" if detection.text_columns else "no column holds text"
            return Resolution(
                refusal=ErrorCode.COLUMNS_UNKNOWN,
                message=f"{name}: {several}, and none is named text. The columns are {', '.join(detection.columns)}.",
            )
    named = [column for column in chosen if column]
    why += f"; the text is in the column {', '.join(named)}" if named else ""
    return Resolution(task=Task.DOMAIN_ADAPTATION, convertible=convertible, text_columns=tuple(chosen), why=why)
