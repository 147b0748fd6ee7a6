"""One row in, one training row out. Each row is recognised on its own, whatever the rows before it are."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from finetuning.datasets.answers import as_columns, as_dialog
from finetuning.datasets.data_errors import DataError, ErrorCode, keep_frequent, short_name
from finetuning.datasets.dialogs import (
    DELETED,
    MARKS,
    NO_VALUE,
    PARENTS,
    Dialogs,
    is_media,
    is_off,
    is_on,
    kind,
    names,
    names_media,
    plain_characters,
    shown,
    text_of,
)
from finetuning.datasets.limits import LAYOUT_NAMES
from finetuning.datasets.options import Columns
from finetuning.datasets.shape import (
    BARE,
    Keys,
    Kind,
    PlainColumns,
    Reading,
    Shape,
    canonical,
    is_either,
    is_texts,
    kind_of,
)
from finetuning.datasets.shapes import Text, shape_of
from finetuning.datasets.templates import Template, fill, template_columns
from finetuning.jumpstart.family import Message, Task

KIND_OF = {Task.CHAT: Kind.DIALOG, Task.INSTRUCTION: Kind.COLUMNS, Task.DOMAIN_ADAPTATION: Kind.TEXT}
LABELS = ("label", "kto_tag")
NESTING = ("instances", "data", "rows", "train", "examples")
MAX_ROUTES = 4096
"""Sets of keys remembered, so that a file in which every row has other keys does not fill the memory (with
`LAYOUT_NAMES`)."""


@dataclass(slots=True)
class _Route:
    """How rows with the same keys are read."""

    shape: str
    read: Callable[[Any, Dialogs], Reading]
    media: tuple[str, ...]
    marks: tuple[str, ...]
    ignored: tuple[str, ...]
    label: Callable[[Kind], str] | None = None
    """The shape's name for rows of a kind; None if it is the same for all."""
    either: bool = False
    turns: str = ""
    """The column that is the whole row if it is a valid dialog as it is."""
    plain: PlainColumns | None = None
    """The columns that are the whole row if they are plain texts; None for a row with more to be read or checked."""
    rows: int = 0
    guarded: bool = field(init=False)

    def __post_init__(self) -> None:
        self.guarded = bool(self.media or self.marks)


@dataclass
class Converter:
    """Makes training rows for one task.

    `convertible`: instruction rows may become chat, and conversations of one question instruction rows; so if the user
    chose the task. A question and its answer in columns not named instruction can always be either. `template`: the
    user's, whose columns alone are then read. `columns`: the user's choice, instead of the known names. `text_column`:
    the column of the text, in a table without `text`. `untrained`: see `RowOptions.untrained_answers`.
    """

    task: Task
    convertible: bool = False
    template: Template | None = None
    text_column: str = ""
    repair: bool = True
    columns: Columns | None = None
    untrained: str = "refuse"
    dialogs: Dialogs = field(init=False)
    numbers_as_text: int = field(default=0, init=False)
    _routes: dict[Keys, _Route] = field(default_factory=dict, init=False)
    _names_held: int = field(default=0, init=False)
    _shapes: Counter[str] = field(default_factory=Counter, init=False)
    _ignored: Counter[str] = field(default_factory=Counter, init=False)
    """Of the routes that are not remembered any more."""

    def __post_init__(self) -> None:
        self.dialogs = Dialogs(self.repair, self.untrained)
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
        elif route.plain and (columns := route.plain.read(row)):
            route.rows += 1
            characters = sum(map(len, columns.values()))
            if self.task is Task.INSTRUCTION:
                return columns, characters
            return {"dialog": as_dialog(columns)}, characters + bool(columns["context"])
        converted = self._converted(row, route)
        return converted, characters_of(converted)

    def _converted(self, row: Any, route: _Route) -> dict[str, Any]:
        if route.guarded:
            self._guard(row, route)
        try:
            reading = route.read(row, self.dialogs)
        except DataError:
            # Tables fill absent columns with null; without these the row may have another shape. A null parent means
            # the root of a tree.
            if row.__class__ is not dict:
                raise
            filled = {key: value for key, value in row.items() if value is not None or key in PARENTS}
            if len(filled) == len(row):
                raise
            return self.convert(filled)[0]
        route.rows += 1
        return self._as_task(reading, route)

    def took(self, keys: Keys, rows: int) -> None:
        """Counts rows that were recognised as dialogs together, without `convert`."""
        (self._routes.get(keys) or self._route(keys)).rows += rows

    def shapes(self) -> Counter[str]:
        """Rows read so far, by shape."""
        self._retire()
        return self._shapes

    def ignored(self) -> Counter[str]:
        """Columns that were not read, with the number of rows (or turns) that have them; the rarest may be missing."""
        self._retire()
        return self._ignored + self.dialogs.ignored

    def _route(self, keys: Keys) -> _Route:
        if len(self._routes) >= MAX_ROUTES or self._names_held > LAYOUT_NAMES:
            self._retire()
        self._routes[keys] = route = self._new_route(keys)
        self._names_held += sum(map(len, keys))
        return route

    def _retire(self) -> None:
        """Adds up the routes, and forgets them."""
        for route in self._routes.values():
            if route.rows:
                self._shapes[route.shape] += route.rows
                for name in route.ignored:
                    self._ignored[name] += route.rows
                keep_frequent(self._ignored)
        self._routes.clear()
        self._names_held = 0

    def _new_route(self, keys: Keys) -> _Route:
        used = self._chosen_columns(keys)
        media = tuple(key for key in keys if names_media(key) and key not in used)
        marks = tuple(key for key in keys if key in (*MARKS, *LABELS, DELETED) and key not in used)
        if used:
            read, name, either = self._chosen_reader(keys)
            return _Route(
                name, read, media, marks, tuple(short_name(key) for key in keys if key not in used), either=either
            )
        shape = shape_of(known := canonical(keys))
        if shape is None:
            return _Route("unknown", _unknown, (), (), ())
        read = shape.read if known == keys else lambda row, dialogs: shape.read(_renamed(row, known), dialogs)
        if isinstance(shape, Text):
            marks = tuple(key for key in marks if key not in LABELS)
        columns = shape.columns(known)
        return _Route(
            shape.label(known, KIND_OF[self.task]),
            read,
            media,
            marks,
            tuple(short_name(key) for key, name in zip(keys, known, strict=True) if name not in columns),
            label=lambda kind: shape.label(known, kind),
            either=is_either(shape.kind, known),
            turns=shape.turns_key(known) if self.task is Task.CHAT and known == keys else "",
            plain=self._plain_columns(shape, known) if known == keys and not (media or marks) else None,
        )

    def _plain_columns(self, shape: Shape, keys: Keys) -> PlainColumns | None:
        """The columns of a question and its answer, where they are a row of this task."""
        fits = self.task is Task.INSTRUCTION or (
            self.task is Task.CHAT and (self.convertible or is_either(shape.kind, keys))
        )
        return shape.plain_columns(keys) if fits else None

    def _chosen_columns(self, keys: Keys) -> tuple[str, ...]:
        """The columns that the user names, or that the task does; none if rows are read by their shape."""
        if self.template:
            return tuple(self._columns)
        if self.columns:
            return self.columns.named
        if self.text_column:
            return (self.text_column,)
        return ("text",) if self.task is Task.DOMAIN_ADAPTATION and self.convertible and "text" in keys else ()

    def _chosen_reader(self, keys: Keys) -> tuple[Callable[[Any, Dialogs], Reading], str, bool]:
        """How rows are read by chosen columns, the name of that, and whether a row may be either kind."""
        if self.template:
            return self._template_row, "template columns", False
        if (columns := self.columns) and not columns.text:
            return lambda row, _: _question_and_answer(row, columns), "chosen columns", True
        column = (columns.text if columns else None) or self.text_column
        if not column:
            return lambda row, _: _text_column(row, "text"), Text.name, False
        return lambda row, _: _text_column(row, column), f"text column {column}", False

    def _guard(self, row: Any, route: _Route) -> None:
        """Raises `DataError` for a row with images, audio or video, or with an answer that must not be learned."""
        for key in route.media:
            if is_media(key, row[key]):
                raise DataError(ErrorCode.MEDIA, f"The row has {key}: {shown(row[key])}", key)
        for key in route.marks:
            value = row[key]
            if is_on(value) if key == DELETED else is_off(value):
                code = ErrorCode.REJECTED_ANSWER if key in LABELS else ErrorCode.UNTRAINED_ANSWER
                self.dialogs.refuse_marked(key, value, key, code)

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
            f"The row is {A_KIND[kind]} ({route.label(kind) if route.label else route.shape}), but this run trains on "
            f"{KINDS[KIND_OF[self.task]]}.",
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


def _renamed(row: Any, names: Keys) -> dict[str, Any]:
    return dict(zip(names, row.values(), strict=True))


def _unknown(row: Any, _: Dialogs) -> Reading:
    if not row:
        raise DataError(ErrorCode.SHAPE_UNKNOWN, "The row is an empty object.")
    texts = next((key for key, value in row.items() if is_texts(value) and len(value) > 1), "")
    nested = next((key for key in NESTING if isinstance(row.get(key), list)), "")
    if texts:
        raise DataError(
            ErrorCode.SHAPE_UNKNOWN,
            f"{texts} is a list of texts: turns without roles.",
            texts,
            'Write each turn with its role: {"messages": [{"role": "user", "content": …}, …]}.',
        )
    if nested:
        raise DataError(ErrorCode.SHAPE_UNKNOWN, f"The rows are nested under {nested}. Write one row per line.", nested)
    raise DataError(ErrorCode.SHAPE_UNKNOWN, f"No known layout has these columns: {names(row)}.")


def _question_and_answer(row: Any, columns: Columns) -> dict[str, str]:
    """The texts of the columns that the user chose."""
    reading = {
        "instruction": _text_column(row, str(columns.prompt)),
        "context": "",
        "response": _text_column(row, str(columns.completion)),
    }
    if columns.system and row.get(columns.system) not in NO_VALUE:
        reading["system"] = _text_column(row, columns.system)
    return reading


def _text_column(row: Any, column: str) -> str:
    if not isinstance(row, dict) or column not in row:
        has = f" The row has: {names(row)}." if isinstance(row, dict) else ""
        raise DataError(ErrorCode.COLUMN_MISSING, f"The column {column} is missing.{has}", column)
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
