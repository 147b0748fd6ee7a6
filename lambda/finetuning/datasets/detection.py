"""What a file is, from its first bytes."""

import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from finetuning.datasets.answers import QuestionAndAnswer
from finetuning.datasets.csv_dialect import csv_dialect
from finetuning.datasets.data_errors import DataError, ErrorCode, naming, require_few_columns
from finetuning.datasets.dialogs import ROLE_KEYS, Dialogs
from finetuning.datasets.encoding import BOM
from finetuning.datasets.formats import SUFFIXES, Detection, Format, Framing
from finetuning.datasets.framing import Record, json_values, lines
from finetuning.datasets.limits import MAX_RECORD
from finetuning.datasets.marked_text import TEMPLATE_MARK
from finetuning.datasets.shape import BARE, CONTEXT, HISTORY, INPUT, KNOWN_COLUMNS, Kind, canonical, is_either, kind_of
from finetuning.datasets.shapes import shape_of

HEAD_BYTES = 1 << 20
"""The part of a file that `detect` reads."""

LONG_HEAD_BYTES = MAX_RECORD + (1 << 20)
"""And as much as `detect_head` reads if the first row does not end in it."""

HEAD_ROWS = 200


_SIGNATURES = {
    b"PK\x03\x04": "a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file (.xls or .doc)",
    b"\x00\x05\x16\x07": "a companion file of macOS, which holds no data",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x89HDF": "HDF5",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"\x80\x04\x95": "a Python pickle",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}
AS_CSV = "Save the sheet as `CSV UTF-8`, and upload the .csv file."
_DOCUMENT_TEXT = "Export text from a PDF or Word document as .txt (UTF-8), and upload that."
_RTF_TEXT = "Save it as plain text (.txt, UTF-8), and upload that."
_FROM_ARROW = "Write it as JSON Lines or Parquet: in `datasets` Dataset.to_json(path) or Dataset.to_parquet(path)."
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def detect(
    head: bytes,
    name: str,
    size: int,
    *,
    named: Collection[str] = frozenset(),
    is_table: bool = False,
    most: int = HEAD_BYTES,
) -> Detection:
    """What the file `name` of `size` bytes is, by its first `HEAD_BYTES` or more. Never raises: a refusal is in the
    result.

    `named`: columns that the user names. `is_table`: the rows are a table's that was written as JSON Lines. `most`:
    bytes that are taken of a compressed file.
    """
    whole = len(head) >= size
    try:
        compressed = head.startswith(b"\x1f\x8b")
        if compressed:
            head, whole = _inflated(head, most)
            name = name.removesuffix(".gz")
        suffix = PurePosixPath(name.lower()).suffix
        _refuse_strangers(head, size, suffix)
        detection = _detected(head.removeprefix(BOM), suffix, whole, named)
    except DataError as error:
        return Detection(refusal=error.code, message=error.message, fix=error.fix)
    is_table = is_table or detection.framing is Framing.CSV
    return detection.model_copy(update={"compressed": compressed, "is_table": is_table})


def detect_head(
    read: Callable[[int], bytes],
    name: str,
    size: int,
    *,
    named: Collection[str] = frozenset(),
    is_table: bool = False,
) -> Detection:
    """The same; `read` gives the first bytes of the file, as many as are asked for. If the first two rows do not end in
    `HEAD_BYTES`, more is read.
    """
    detection = detect(read(HEAD_BYTES), name, size, named=named, is_table=is_table)
    unseen = detection.framing not in (Framing.TEXT, Framing.PARQUET) and detection.rows_seen < 2
    whole = size <= HEAD_BYTES and not detection.compressed
    if detection.refusal or not unseen or whole:
        return detection
    return detect(read(LONG_HEAD_BYTES), name, size, named=named, is_table=is_table, most=LONG_HEAD_BYTES)


def detect_file(path: Path, named: Collection[str] = frozenset()) -> Detection:
    """What a file on this machine is."""

    def read(size: int) -> bytes:
        with path.open("rb") as file:
            return file.read(size)

    return detect_head(read, path.name, path.stat().st_size, named=named)


def detect_reframed(read: Callable[[int], bytes], size: int) -> Detection:
    """What a Parquet file holds, by the head of the JSON Lines written from it."""
    detection = detect_head(read, ".jsonl", size, is_table=True)
    return detection.model_copy(update={"format": Format.PARQUET, "why": f"it starts with PAR1; {detection.why}"})


def _inflated(head: bytes, most: int) -> tuple[bytes, bool]:
    """The first bytes of the decompressed file, and whether they are all of it."""
    stream = zlib.decompressobj(wbits=31)
    try:
        return stream.decompress(head, most), stream.eof
    except zlib.error as error:
        raise DataError(ErrorCode.COMPRESSION, f"The gzip stream is damaged: {error}.") from error


def _refuse_strangers(head: bytes, size: int, suffix: str) -> None:
    """Raises `DataError` for a file that is not data: empty, a pointer, a web page, an archive, or not UTF-8."""
    text = head.removeprefix(BOM).lstrip()
    if not size or not text:
        raise DataError(ErrorCode.FILE_EMPTY, "The file is empty.")
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature):
            what, fix = _document(what, head, suffix)
            raise DataError(ErrorCode.ARCHIVE, f"The file is {what}.", "", fix)
    if head.startswith(_WIDE):
        raise DataError(ErrorCode.ENCODING, f"The file is {'UTF-32' if head[:4].count(0) > 1 else 'UTF-16'}.")
    if head[257:262] == b"ustar":
        raise DataError(ErrorCode.ARCHIVE, "The file is a tar archive.")
    if text.startswith(b"{\\rtf"):
        raise DataError(ErrorCode.FORMAT_UNKNOWN, "The file is a rich text (RTF) document.", "", _RTF_TEXT)
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        raise DataError(ErrorCode.GIT_LFS_POINTER, "The file is a Git LFS pointer, not the data itself.")
    if re.match(rb"<(!doctype|html|head|\?xml|error)\b", text[:100].lower()):
        fix = f"It is a table in HTML: open it in Excel. {AS_CSV}" if suffix.startswith(".xls") else ""
        raise DataError(ErrorCode.WEB_PAGE, "The file is HTML or XML: a web page or an error page, not data.", "", fix)
    if not head.startswith(b"PAR1"):
        _refuse_nuls(head[:4096])


def _document(what: str, head: bytes, suffix: str) -> tuple[str, str]:
    """What a packed file is, and what to do; "" for the usual advice."""
    if suffix in (".xlsx", ".xlsm", ".xls") or b"xl/" in head[:4096]:
        return "an Excel workbook", AS_CSV
    if suffix in (".docx", ".doc", ".pdf") or b"word/" in head[:4096] or "PDF" in what:
        return "a PDF" if "PDF" in what else "a Word document", _DOCUMENT_TEXT
    return what, _FROM_ARROW if "Arrow" in what else ""


def _refuse_nuls(sample: bytes) -> None:
    """Raises `DataError` for a file with many NUL bytes: text in an encoding of wider characters, or no text at all."""
    if sample.count(0) <= len(sample) // 5:
        return
    share = [sample[place::4].count(0) * 4 / len(sample) for place in range(4)]
    if sorted(share)[1] > 0.6:
        raise DataError(ErrorCode.ENCODING, "The file has many NUL bytes: it looks like UTF-32.")
    if min(share[0], share[2]) > 0.6 > max(share[1], share[3]) or min(share[1], share[3]) > 0.6 > max(
        share[0], share[2]
    ):
        raise DataError(ErrorCode.ENCODING, "The file has many NUL bytes: it looks like UTF-16.")
    raise DataError(ErrorCode.ARCHIVE, "The file has many NUL bytes: it is binary, not text.")


def _detected(head: bytes, suffix: str, whole: bool, named: Collection[str]) -> Detection:
    format_ = SUFFIXES.get(suffix)
    if head.startswith(b"PAR1"):
        return Detection(format=Format.PARQUET, framing=Framing.PARQUET, why="it starts with PAR1")
    if format_ is Format.PARQUET:
        raise DataError(
            ErrorCode.FORMAT_UNKNOWN, "The file is named .parquet, but it does not start with PAR1 as Parquet does."
        )
    if format_ is Format.TEXT:
        return Detection(
            format=format_,
            framing=Framing.TEXT,
            shape="text",
            kinds={Kind.TEXT: 1},
            why="it is named .txt",
            remark=_LINES_OF_JSON if _is_json(head) else _MARKED if TEMPLATE_MARK.search(head) else "",
        )
    if format_ is Format.CSV and not _is_json(head):
        return _table(head, suffix, whole, named)
    if format_ is None and head.lstrip()[:1] not in (b"{", b"["):
        raise DataError(ErrorCode.FORMAT_UNKNOWN, "The format cannot be recognised from the name or the content.")
    framing, why = _json_framing(head, whole)
    rows = [row for row in map(_loads, _values(head, framing)) if isinstance(row, dict | list)]
    if whole and len(rows) == 1:
        _refuse_table_by_column(rows[0])
    if format_ is Format.CSV:
        why = f"it is named {suffix}, but {why}"
    return _shaped(rows, format=Format.JSONL if framing is Framing.LINES else Format.JSON, framing=framing, why=why)


def _is_json(head: bytes) -> bool:
    """True if the first lines of a file are JSON objects or arrays, whatever its name."""
    first = [line for line in head.split(b"\n", 5)[:5] if line.strip()]
    return bool(first) and all(isinstance(_loads(line), dict | list) for line in first[:-1] or first)


def _refuse_table_by_column(row: Any) -> None:
    """Raises `DataError` if the only row of a file has all values of each column, as pandas writes a table by default.

    `{input: […], output: […]}` alone is one conversation.
    """
    whole = (
        {key: value for key, value in row.items() if isinstance(value, dict | list)} if isinstance(row, dict) else {}
    )
    if len(whole) < 2 or whole.keys() <= {INPUT, "output"}:
        return
    if len(whole) < len(row) and not KNOWN_COLUMNS.intersection(whole) - {CONTEXT, HISTORY}:
        return
    values = list(whole.values())
    first = values[0]
    if isinstance(first, list):
        alike = all(isinstance(each, list) and len(each) == len(first) for each in values)
    else:
        alike = isinstance(first, dict) and all(
            isinstance(each, dict) and each.keys() == first.keys() for each in values
        )
    cells = [cell for each in values for cell in (each.values() if isinstance(each, dict) else each)] if alike else []
    if alike and len(first) > 1 and not any(isinstance(cell, dict | list) for cell in cells):
        lists = "an object" if isinstance(first, dict) else "a list"
        raise DataError(
            ErrorCode.TABLE_BY_COLUMN,
            f"The file is a table written by column: {naming(tuple(whole))} are each {lists} of {len(first):,} values.",
        )


def _json_framing(head: bytes, whole: bool) -> tuple[Framing, str]:
    """LINES if most lines are whole values; else an array of rows, or values that span lines."""
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
    return Framing.DOCUMENT, "its JSON objects span several lines"


def _left_open(line: bytes) -> bool:
    return line.count(b"{") + line.count(b"[") > line.count(b"}") + line.count(b"]")


def _values(head: bytes, framing: Framing) -> Iterator[bytes]:
    """The first records of the head."""
    reader = io.BufferedReader(io.BytesIO(head))
    if framing is Framing.LINES:
        records: Iterator[Record] = (record for batch in lines(reader) for record in batch.records)
    else:
        records = (record for _, record in json_values(reader, 1 if framing is Framing.ARRAY else 0))
    return (value for value in islice(records, HEAD_ROWS) if isinstance(value, bytes))


def _loads(value: bytes) -> Any:
    """None for a value that is not valid: the preparation reports it, with its line."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _shaped(rows: Sequence[Any], **known: Any) -> Detection:
    """The detection of rows: their shapes and kinds, and the columns of sentences."""
    shapes: Counter[str] = Counter()
    kinds: Counter[Kind] = Counter()
    history = False
    dialogs = Dialogs()
    for row in rows:
        keys = canonical(tuple(row)) if isinstance(row, dict) else BARE
        shape = shape_of(keys)
        if shape is None:
            continue
        if isinstance(row, dict):
            row = dict(zip(keys, row.values(), strict=True))
        try:
            kind = kind_of(shape.read(row, dialogs))
        except DataError:
            kind = shape.kind  # the preparation reports the row
        history = history or (isinstance(shape, QuestionAndAnswer) and kind is Kind.DIALOG and bool(row.get(HISTORY)))
        shapes[shape.label(keys, kind)] += 1
        kinds[Kind.DIALOG if is_either(kind, keys) else kind] += 1
    tables = [row for row in rows if isinstance(row, dict)]
    known.setdefault("columns", tuple(tables[0]) if tables else ())
    require_few_columns(known["columns"])
    texts = tuple(column for column in known["columns"] if _holds_text([row.get(column) for row in tables]))
    known["why"] += f"; {_summary(shapes, len(rows), known['columns'])}"
    shape_name = shapes.most_common(1)[0][0] if shapes else ""
    marked = any(_is_text(row) and TEMPLATE_MARK.search(row["text"].encode(errors="replace")) for row in tables)
    return Detection(
        shape=shape_name,
        kinds=dict(kinds),
        history=history,
        text_columns=texts,
        rows_seen=len(rows),
        remark=_MARKED if marked else "",
        **known,
    )


_MARKED = (
    "the text has marks of a chat template, such as [INST] or ### Instruction:. It is trained on as it stands; to "
    "train on conversations, write the turns as {role, content}"
)
_LINES_OF_JSON = "its lines are JSON, but by its name it is plain text; to train on its rows, name it .jsonl"


def _is_text(row: dict[str, Any]) -> bool:
    return isinstance(row.get("text"), str)


def _summary(shapes: Counter[str], rows: int, columns: Sequence[str]) -> str:
    if not rows:
        return "none of its first rows can be read"
    first = "first row" if rows == 1 else f"first {rows} rows"
    if not shapes:
        return f"{first}: no known layout" + (f" (columns {naming(columns)})" if columns else "")
    counts = shapes.most_common()
    if unknown := rows - sum(shapes.values()):
        counts.append(("unknown", unknown))
    if len(counts) > 1:
        return f"{first}: {', '.join(f'{shape} ({count})' for shape, count in counts)}"
    return f"{first}: {'all ' if rows > 1 else ''}{counts[0][0]}"


def _holds_text(values: Sequence[Any]) -> bool:
    """True if a column has sentences: mostly strings of several words, at least 20 characters on average."""
    texts = [value for value in values if isinstance(value, str) and value]
    wordy = sum(" " in text.strip() or not text.isascii() for text in texts)
    return 2 * wordy > len(values) and sum(map(len, texts)) >= 20 * len(texts)


def _table(head: bytes, suffix: str, whole: bool, named: Collection[str]) -> Detection:
    dialect = csv_dialect(head.decode(errors="replace"), whole, HEAD_ROWS, suffix, named)
    header = "with a header" if dialect.has_header else "without a header"
    detection = _shaped(
        dialect.rows,
        format=Format.CSV,
        framing=Framing.CSV,
        why=f"it is named {suffix} and delimited by {dialect.delimiter!r}, {header}",
        columns=dialect.columns,
        has_header=dialect.has_header,
        delimiter=dialect.delimiter,
        preamble=dialect.preamble,
        skips_blanks=dialect.skips_blanks,
    )
    return detection.model_copy(update={"text_columns": dialect.columns}) if len(dialect.columns) == 1 else detection
