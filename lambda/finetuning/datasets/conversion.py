"""One row in, one training row out. Each row is recognised on its own, whatever the rows before it are."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from finetuning.datasets.answers import as_columns, as_dialog
from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.dialogs import Dialogs, is_media, kind, names, plain_characters, shown, text_of
from finetuning.datasets.shape import BARE, Keys, Kind, Reading, is_either, kind_of
from finetuning.datasets.shapes import Text, shape_of
from finetuning.datasets.templates import Template, fill, template_columns
from finetuning.jumpstart.family import Message, Task

KIND_OF = {Task.CHAT: Kind.DIALOG, Task.INSTRUCTION: Kind.COLUMNS, Task.DOMAIN_ADAPTATION: Kind.TEXT}
LABELS = ("label", "kto_tag")
NESTING = ("instances", "data", "rows", "train", "examples")
MAX_ROUTES = 4096
"""Sets of keys remembered, so that a file in which every row has other keys does not fill the memory."""


@dataclass(slots=True)
class _Route:
    """How rows with the same keys are read."""

    shape: str
    read: Callable[[Any, Dialogs], Reading]
    media: tuple[str, ...]
    labels: tuple[str, ...]
    ignored: tuple[str, ...]
    either: bool = False
    turns: str = ""
    """The column that is the whole row if it is a valid dialog as it is."""
    rows: int = 0
    guarded: bool = field(init=False)

    def __post_init__(self) -> None:
        self.guarded = bool(self.media or self.labels)


@dataclass
class Converter:
    """Makes training rows for one task.

    `convertible`: instruction rows may become chat, and conversations of one question instruction rows; so if the user
    chose the task. A question and its answer in columns not named instruction can always be either. `template`: the
    user's, whose columns alone are then read. `text_column`: the column of the text, in a table without `text`.
    """

    task: Task
    convertible: bool = False
    template: Template | None = None
    text_column: str = ""
    repair: bool = True
    dialogs: Dialogs = field(init=False)
    numbers_as_text: int = field(default=0, init=False)
    _routes: dict[Keys, _Route] = field(default_factory=dict, init=False)
    _retired: list[_Route] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.dialogs = Dialogs(self.repair)
        self._columns = template_columns(self.template) if self.template else []

    def convert(self, row: Any) -> tuple[dict[str, Any], int]:
        """`{"dialog": […]}`, instruction columns or `{"text": …}`, and the number of characters in its texts.

        Raises `DataError`.
        """
        keys = tuple(row) if row.__class__ is dict else BARE
        route = self._routes.get(keys) or self._route(keys)
        if route.turns:
            turns = row[route.turns]
            if characters := plain_characters(turns):
                route.rows += 1
                return {"dialog": turns}, characters
        converted = self._converted(row, route)
        return converted, characters_of(converted)

    def _converted(self, row: Any, route: _Route) -> dict[str, Any]:
        if route.guarded:
            _guard(row, route)
        try:
            reading = route.read(row, self.dialogs)
        except DataError:
            # Tables fill absent columns with null; without these the row may have another shape.
            if row.__class__ is not dict or None not in row.values():
                raise
            return self.convert({key: value for key, value in row.items() if value is not None})[0]
        route.rows += 1
        return self._as_task(reading, route)

    def took(self, keys: Keys, rows: int) -> None:
        """Counts rows that were recognised as dialogs together, without `convert`."""
        (self._routes.get(keys) or self._route(keys)).rows += rows

    def shapes(self) -> Counter[str]:
        """Rows read so far, by shape."""
        counts: Counter[str] = Counter()
        for route in [*self._routes.values(), *self._retired]:
            if route.rows:
                counts[route.shape] += route.rows
        return counts

    def ignored(self) -> Counter[str]:
        """Columns that were not read, with the number of rows (or turns) that have them."""
        counts = Counter(self.dialogs.ignored)
        for route in [*self._routes.values(), *self._retired]:
            if route.rows:
                counts.update(dict.fromkeys(route.ignored, route.rows))
        return counts

    def _route(self, keys: Keys) -> _Route:
        if len(self._routes) >= MAX_ROUTES:
            self._retired += (route for route in self._routes.values() if route.rows)
            self._routes.clear()
        self._routes[keys] = route = self._new_route(keys)
        return route

    def _new_route(self, keys: Keys) -> _Route:
        media = tuple(key for key in keys if is_media(key))
        if self.template:
            columns = set(self._columns)
            return _Route("template columns", self._template_row, media, (), tuple(set(keys) - columns))
        if self.text_column:
            column = self.text_column
            ignored = tuple(key for key in keys if key != column)
            return _Route(f"text column {column}", lambda row, _: _text_column(row, column), media, (), ignored)
        if self.task is Task.DOMAIN_ADAPTATION and self.convertible and "text" in keys:
            ignored = tuple(key for key in keys if key != "text")
            return _Route(Text.name, lambda row, _: _text_column(row, "text"), media, (), ignored)
        shape = shape_of(keys)
        if shape is None:
            return _Route("unknown", _unknown, (), (), ())
        ignored = tuple(set(keys) - shape.columns(keys))
        labels = () if isinstance(shape, Text) else tuple(key for key in LABELS if key in keys)
        label, either = shape.label(keys, KIND_OF[self.task]), is_either(shape.kind, keys)
        turns = shape.turns_key(keys) if self.task is Task.CHAT else ""
        return _Route(label, shape.read, media, labels, ignored, either, turns)

    def _as_task(self, reading: Reading, route: _Route) -> dict[str, Any]:
        kind = kind_of(reading)
        if kind is KIND_OF[self.task]:
            if isinstance(reading, list):
                return {"dialog": reading}
            if isinstance(reading, dict):
                return _with_system(reading) if self.template is None else reading
            return {"text": reading}
        if isinstance(reading, dict) and self.task is Task.CHAT and (self.convertible or route.either):
            return {"dialog": as_dialog(reading)}
        if self.convertible and isinstance(reading, list) and self.task is Task.INSTRUCTION:
            return _with_system(as_columns(reading))
        raise DataError(
            ErrorCode.SHAPE_OTHER_TASK,
            f"The row is {A_KIND[kind]} ({route.shape}), but this run trains on {KINDS[KIND_OF[self.task]]}.",
        )

    def _template_row(self, row: Any, _: Dialogs) -> dict[str, str]:
        """The template's columns as texts; numbers are converted. The completion must not be empty."""
        assert self.template is not None
        if not isinstance(row, dict):
            raise DataError(ErrorCode.SHAPE_UNKNOWN, f"The row is {kind(row)}, not an object with columns.")
        columns = {column: self._template_value(row, column) for column in self._columns}
        if not fill(self.template["completion"], columns).strip():
            raise DataError(ErrorCode.CONTENT_EMPTY, "The completion is empty.", template_columns(self.template)[-1])
        return columns

    def _template_value(self, row: Mapping[str, Any], column: str) -> str:
        if column not in row:
            raise DataError(
                ErrorCode.COLUMN_MISSING, f"The column {column} is missing. The row has: {names(row)}.", column
            )
        value = row[column]
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.numbers_as_text += 1
            return str(value)
        if value in (None, ""):
            return ""
        return text_of(value, column) if isinstance(value, str) and not value.isspace() else _refused(value, column)


def turns_of(converted: Mapping[str, Any]) -> list[Message]:
    """The turns of a training row; none if it is not a dialog. A template may have a text column named `dialog`."""
    dialog = converted.get("dialog")
    return dialog if isinstance(dialog, list) else []


def characters_of(converted: Mapping[str, Any]) -> int:
    """The number of characters in all texts of a training row."""
    texts = [turn["content"] for turn in turns_of(converted)] or converted.values()
    return sum(map(len, texts))


A_KIND = {Kind.DIALOG: "a conversation", Kind.COLUMNS: "an instruction with its answer", Kind.TEXT: "plain text"}
KINDS = {Kind.DIALOG: "conversations", Kind.COLUMNS: "instructions with answers", Kind.TEXT: "plain text"}


def _guard(row: Any, route: _Route) -> None:
    """Raises `DataError` for a row with images, audio or video, or with an answer marked as rejected."""
    for key in route.media:
        if row[key] not in (None, "", [], {}, "[]"):
            raise DataError(ErrorCode.MEDIA, f"The row has {key}: {shown(row[key])}", key)
    for key in route.labels:
        if row[key] is False or (isinstance(row[key], str) and row[key].lower() == "false"):
            raise DataError(ErrorCode.REJECTED_ANSWER, f"{key} is false: the answer was rejected.", key)


def _unknown(row: Any, _: Dialogs) -> Reading:
    nested = next((key for key in NESTING if isinstance(row.get(key), list)), "")
    if nested:
        raise DataError(ErrorCode.SHAPE_UNKNOWN, f"The rows are nested under {nested}. Write one row per line.", nested)
    raise DataError(ErrorCode.SHAPE_UNKNOWN, f"No known layout has these columns: {names(row)}.")


def _text_column(row: Any, column: str) -> str:
    if not isinstance(row, dict) or column not in row:
        raise DataError(ErrorCode.COLUMN_MISSING, f"The column {column} is missing.", column)
    value = row[column]
    return text_of(value, column) if isinstance(value, str) else _refused(value, column)


def _refused(value: Any, path: str) -> str:
    if isinstance(value, str):
        raise DataError(ErrorCode.CONTENT_EMPTY, "The content is empty.", path)
    raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The content is {kind(value)}, not a text.", path)


def _with_system(columns: dict[str, str]) -> dict[str, str]:
    """Instruction columns for JumpStart's default template, with a system text put before the instruction."""
    system = columns.pop("system", "")
    if system:
        columns["instruction"] = f"{system}\n\n{columns['instruction']}"
    return columns
