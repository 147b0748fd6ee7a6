"""What can be wrong with a file or a row: a code, and what to do about it.

The message beside a code says what was found in this file or row; the fix is the same for every error with the code.
Each code has an entry in docs/datasets.md.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from finetuning.datasets.limits import IGNORED_KEPT, KEYS_NAMED, MAX_COLUMN_NAMES, MAX_COLUMNS, NAME_SHOWN


class ErrorCode(StrEnum):
    """The name of an error. Users filter reports by it, so it is never renamed."""

    # The file as a whole
    FILE_EMPTY = "FILE_EMPTY"
    GIT_LFS_POINTER = "GIT_LFS_POINTER"
    WEB_PAGE = "WEB_PAGE"
    ARCHIVE = "ARCHIVE"
    FORMAT_UNKNOWN = "FORMAT_UNKNOWN"
    FILES_MIXED = "FILES_MIXED"
    NO_TRAINING_FILE = "NO_TRAINING_FILE"
    TABLE_BY_COLUMN = "TABLE_BY_COLUMN"
    COLUMNS_UNKNOWN = "COLUMNS_UNKNOWN"
    COLUMNS_TOO_MANY = "COLUMNS_TOO_MANY"
    PARQUET_DAMAGED = "PARQUET_DAMAGED"
    ROW_GROUP_TOO_LARGE = "ROW_GROUP_TOO_LARGE"
    TASK_IMPOSSIBLE = "TASK_IMPOSSIBLE"
    # The bytes of a line
    ENCODING = "ENCODING"
    COMPRESSION = "COMPRESSION"
    LINE_TOO_LONG = "LINE_TOO_LONG"
    NUL = "NUL"
    # Its JSON or CSV
    JSON_INVALID = "JSON_INVALID"
    JSON_TRUNCATED = "JSON_TRUNCATED"
    JSON_CONSTANT = "JSON_CONSTANT"
    JSON_TOO_DEEP = "JSON_TOO_DEEP"
    JSON_SURROGATE = "JSON_SURROGATE"
    JSON_DUPLICATE_KEY = "JSON_DUPLICATE_KEY"
    PYTHON_LITERAL = "PYTHON_LITERAL"
    CSV_INVALID = "CSV_INVALID"
    CSV_COLUMNS = "CSV_COLUMNS"
    # The row
    SHAPE_UNKNOWN = "SHAPE_UNKNOWN"
    SHAPE_OTHER_TASK = "SHAPE_OTHER_TASK"
    COLUMN_MISSING = "COLUMN_MISSING"
    COLUMNS_CONFLICT = "COLUMNS_CONFLICT"
    MEDIA = "MEDIA"
    REJECTED_ANSWER = "REJECTED_ANSWER"
    UNTRAINED_ANSWER = "UNTRAINED_ANSWER"
    # Its turns and texts
    ROLE_UNKNOWN = "ROLE_UNKNOWN"
    ROLE_TOOL = "ROLE_TOOL"
    ROLE_ORDER = "ROLE_ORDER"
    NO_ASSISTANT = "NO_ASSISTANT"
    TRAILING_USER = "TRAILING_USER"
    MANY_TURNS = "MANY_TURNS"
    CONTENT_EMPTY = "CONTENT_EMPTY"
    CONTENT_NOT_TEXT = "CONTENT_NOT_TEXT"
    # The upload, once everything is read
    NOTHING_USABLE = "NOTHING_USABLE"
    TOO_MANY_ERRORS = "TOO_MANY_ERRORS"
    ROWS_TOO_MANY = "ROWS_TOO_MANY"


def short_name(name: str) -> str:
    """A column's name for a message or a report."""
    return name if len(name) <= NAME_SHOWN else name[:NAME_SHOWN] + "…"


def keep_frequent(counts: Counter[str]) -> None:
    """Forgets the rarest names once there are twice as many as are kept."""
    if len(counts) > 2 * IGNORED_KEPT:
        kept = dict(counts.most_common(IGNORED_KEPT))
        counts.clear()
        counts.update(kept)


def require_few_columns(columns: Sequence[str]) -> None:
    """Raises `DataError` for a first row with more columns, or longer names, than every step may have to hold."""
    length = sum(map(len, columns))
    problem = ""
    if len(columns) > MAX_COLUMNS:
        problem = f"The first row has {len(columns):,} columns; the limit is {MAX_COLUMNS:,}."
    elif length > MAX_COLUMN_NAMES:
        problem = f"The names of the first row's columns have {length:,} characters; the limit is {MAX_COLUMN_NAMES:,}."
    if problem:
        raise DataError(ErrorCode.COLUMNS_TOO_MANY, problem)


def naming(names: Sequence[str]) -> str:
    """The first `KEYS_NAMED` names for a message, each shortened, and how many more there are."""
    named = ", ".join(map(short_name, names[:KEYS_NAMED]))
    more = len(names) - KEYS_NAMED
    return f"{named} and {more:,} more" if more > 0 else named


MARKED = frozenset((ErrorCode.UNTRAINED_ANSWER, ErrorCode.REJECTED_ANSWER))
"""Errors of rows with an answer that must not be learned. run.json chooses what becomes of them."""

BREAKS_OFF = frozenset((ErrorCode.JSON_TRUNCATED, ErrorCode.COMPRESSION))
"""Errors after which the rest of a file is not known."""

FIXES: dict[ErrorCode, str] = {
    ErrorCode.FILE_EMPTY: "Export or copy the file again: nothing was written to it.",
    ErrorCode.GIT_LFS_POINTER: "Run `git lfs pull` in the repository, then upload the file it downloads.",
    ErrorCode.WEB_PAGE: "Download the data itself (the `raw` or `resolve` link), signed in if needed.",
    ErrorCode.ARCHIVE: "Unpack it and upload the data files. Export text from a PDF or Word document as .txt or "
    ".jsonl. A single file compressed with gzip (.gz) is read as it is.",
    ErrorCode.FORMAT_UNKNOWN: "Upload .jsonl, .json, .ndjson, .csv, .tsv, .txt or .parquet, each also as .gz.",
    ErrorCode.FILES_MIXED: "Upload plain text and rows of data as separate runs.",
    ErrorCode.NO_TRAINING_FILE: "Name a file that is to be trained on train.jsonl, or give the only file a name "
    "without test, eval, validation, valid, val or dev.",
    ErrorCode.TABLE_BY_COLUMN: "Write one row per line: in pandas "
    "DataFrame.to_json(path, orient='records', lines=True), in datasets Dataset.to_json(path).",
    ErrorCode.COLUMNS_UNKNOWN: "Name the columns in run.json (`data.columns`) or with --columns, or rename them to "
    "those in docs/datasets.md (`text` for plain text).",
    ErrorCode.COLUMNS_TOO_MANY: "Keep the columns that are trained on, and leave the others out.",
    ErrorCode.PARQUET_DAMAGED: "Write the file again and compare the sizes of the copies: its end may be missing.",
    ErrorCode.ROW_GROUP_TOO_LARGE: "Write the file with smaller row groups: in pandas "
    "DataFrame.to_parquet(path, row_group_size=10_000). Or write it as JSON Lines.",
    ErrorCode.TASK_IMPOSSIBLE: "Set `task` to the one the data is for, or to `auto`.",
    ErrorCode.ENCODING: "Save the file as UTF-8: in Excel as `CSV UTF-8`, on a command line with "
    "`iconv -f WINDOWS-1252 -t UTF-8`, or with the encoding that the message names.",
    ErrorCode.COMPRESSION: "Compress the file again, or upload it uncompressed.",
    ErrorCode.LINE_TOO_LONG: "Split the row: a line may have up to 16 MiB.",
    ErrorCode.NUL: "Remove the NUL characters. They usually come from a broken export.",
    ErrorCode.JSON_INVALID: 'Fix the JSON (a quote inside a text is written \\"), or write the rows again with a JSON '
    "library, one row per line.",
    ErrorCode.JSON_TRUNCATED: "Export or copy the file again: its end is missing.",
    ErrorCode.JSON_CONSTANT: "Write null or leave the key out: NaN and Infinity are not JSON.",
    ErrorCode.JSON_TOO_DEEP: "Flatten the row: no known layout has more than a few levels.",
    ErrorCode.JSON_SURROGATE: "Export the text again: an emoji or another character was cut in half.",
    ErrorCode.JSON_DUPLICATE_KEY: "Keep one of the two.",
    ErrorCode.PYTHON_LITERAL: "Write rows with json.dumps(row), not with str(row).",
    ErrorCode.CSV_INVALID: 'Put the field in quotes, and double each quote inside it ("").',
    ErrorCode.CSV_COLUMNS: "Give the row as many fields as the first row. Put quotes around fields that contain the "
    "delimiter.",
    ErrorCode.SHAPE_UNKNOWN: "Use one of the layouts in docs/datasets.md, name the columns in run.json "
    "(`data.columns`), or add a template.json.",
    ErrorCode.SHAPE_OTHER_TASK: "Upload rows of one task together, or set `task` in run.json if rows can be converted.",
    ErrorCode.COLUMN_MISSING: "Add the column to the row, or name columns that every row has: in template.json, in "
    "run.json (`data.columns`) or with --columns.",
    ErrorCode.COLUMNS_CONFLICT: "Keep the right one and remove the other.",
    ErrorCode.MEDIA: "Remove the row: the model reads only text, and the text alone would teach something else.",
    ErrorCode.REJECTED_ANSWER: "Remove the row: a rejected answer is not training data. Or set "
    '"data": {"untrained_answers": "drop"} in run.json, or "train" if the column means something else.',
    ErrorCode.UNTRAINED_ANSWER: "Training learns every answer of a dialog. Set "
    '"data": {"untrained_answers": "drop"} in run.json to leave such rows out, or "train" to learn these answers too.',
    ErrorCode.ROLE_UNKNOWN: "Use the roles system, user and assistant.",
    ErrorCode.ROLE_TOOL: "Remove the conversation, or rewrite it without tool calls.",
    ErrorCode.ROLE_ORDER: "Alternate user and assistant turns. One system turn may come first.",
    ErrorCode.NO_ASSISTANT: "Add the assistant's answer, or remove the row.",
    ErrorCode.TRAILING_USER: "Add the assistant's answer, or set `repair` to true in run.json to drop the last user "
    "turn.",
    ErrorCode.MANY_TURNS: "Set `task` to chat: an instruction row has one question and one answer.",
    ErrorCode.CONTENT_EMPTY: "Add the text, or remove the row.",
    ErrorCode.CONTENT_NOT_TEXT: "Write the value as a string.",
    ErrorCode.NOTHING_USABLE: "Fix the errors listed, or compare the file with the layouts in docs/datasets.md.",
    ErrorCode.TOO_MANY_ERRORS: "Fix or remove the lines listed in the report, or raise max_error_fraction in run.json.",
    ErrorCode.ROWS_TOO_MANY: 'Set "data": {"near_duplicates": "report"} in run.json, or upload fewer rows.',
}


class DataError(Exception):
    """Why a row, or a whole file, cannot be used.

    `path` is where in the row: `messages[3].content`; "" for the row as a whole or a file. `fix`: instead of the
    code's.
    """

    def __init__(self, code: ErrorCode, message: str, path: str = "", fix: str = "") -> None:
        self.code = code
        self.message = message
        self.path = path
        self.fix = fix or FIXES[code]
        super().__init__(f"{code}: {message}")
