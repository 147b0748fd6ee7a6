"""What a set of files is trained for, all of them together."""

from collections import Counter
from collections.abc import Collection, Sequence

from pydantic import ConfigDict

from finetuning.datasets.conversion import KIND_OF, KINDS
from finetuning.datasets.data_errors import FIXES, ErrorCode, naming
from finetuning.datasets.formats import Detection, Framing
from finetuning.datasets.options import Columns, DataOptions, named_columns
from finetuning.datasets.shape import Kind
from finetuning.datasets.sides import Side, sides_of
from finetuning.jumpstart.family import Task
from finetuning.lazy_model import LazyModel


class Resolution(LazyModel):
    """What an upload is trained for. `convertible`: see `Converter`. `text_columns`, `sides`: one per file; "" for a
    file without a text column.

    With a `refusal` the upload cannot be used; `file` is the one that it is about, if it is about one.
    """

    model_config = ConfigDict(frozen=True)

    task: Task = Task.CHAT
    convertible: bool = False
    text_columns: tuple[str, ...] = ()
    sides: tuple[Side, ...] = ()
    notes: tuple[str, ...] = ()
    why: str = ""
    refusal: ErrorCode | None = None
    message: str = ""
    fix: str = ""
    file: str = ""


def _refused(code: ErrorCode, message: str, *, file: str = "", fix: str = "") -> Resolution:
    message = f"{file}: {message}" if file else message
    return Resolution(refusal=code, message=message, fix=fix or FIXES[code], file=file)


def resolve(
    files: Sequence[tuple[str, Detection]],
    options: DataOptions,
    *,
    paths: Sequence[str] = (),
    supported: Collection[str] = tuple(Task),
) -> Resolution:
    """What to train the files for, all of them together: the task that was asked for, else what most first rows are.

    `paths`: where each file is in the upload; its name by default. `supported`: the tasks of the model. A model without
    instruction tuning is trained on instructions as chat.
    """
    left_out = _left_out(files, options)
    within = [*paths] or [name for name, _ in files]
    used = [number for number in range(len(files)) if number not in left_out]
    sides = dict(zip(used, sides_of([within[number] for number in used]), strict=True))
    if used and not {Side.TRAIN, Side.SPLIT} & set(sides.values()):
        names = naming([within[number] for number in used])
        message = f"By their names all files are for validation or tests, and none is for training: {names}."
        return _refused(ErrorCode.NO_TRAINING_FILE, message)
    resolution = _resolve([files[number] for number in used], options, supported)
    columns = dict(zip(used, resolution.text_columns, strict=True)) if resolution.text_columns else {}
    return resolution.model_copy(
        update={
            "text_columns": tuple(columns.get(number, "") for number in range(len(files))),
            "sides": tuple(sides.get(number, Side.LEFT_OUT) for number in range(len(files))),
            "notes": tuple(f"{files[number][0]} is left out: {why}." for number, why in left_out.items()),
        }
    )


def _left_out(files: Sequence[tuple[str, Detection]], options: DataOptions) -> dict[int, str]:
    """Files without rows beside files that have some, and why each is left out."""
    found = {}
    if any(detection.kinds or (detection.is_table and detection.rows_seen) for _, detection in files):
        for number, (_, detection) in enumerate(files):
            if detection.refusal is ErrorCode.FILE_EMPTY:
                found[number] = "it is empty"
            elif _is_metadata(detection) and not named_columns(options):
                found[number] = "it has one object of no known layout, as files of metadata have"
    return found


def _is_metadata(detection: Detection) -> bool:
    is_object = detection.framing in (Framing.LINES, Framing.DOCUMENT) and detection.columns
    return bool(is_object) and detection.rows_seen == 1 and not detection.kinds and not detection.is_table


def _resolve(files: Sequence[tuple[str, Detection]], options: DataOptions, supported: Collection[str]) -> Resolution:
    task, has_template, columns = options.task, options.template is not None, options.data.columns
    for name, detection in files:
        if detection.refusal:
            return _refused(detection.refusal, detection.message, file=name, fix=detection.fix)
    if columns and (problem := columns.problem):
        return _refused(ErrorCode.COLUMNS_UNKNOWN, f"data.columns (--columns) cannot be used: {problem}.")
    framings = {detection.framing for _, detection in files}
    if Framing.TEXT in framings and len(framings) > 1:
        return _refused(ErrorCode.FILES_MIXED, "The upload has plain text (.txt) and rows of data.")
    asked = Task.INSTRUCTION if has_template else task
    if Framing.TEXT in framings and asked not in ("auto", Task.DOMAIN_ADAPTATION):
        return _refused(
            ErrorCode.TASK_IMPOSSIBLE, f"Plain text (.txt) can be used for domain_adaptation only, not for {asked}."
        )
    if has_template:
        if task not in ("auto", Task.INSTRUCTION):
            return _refused(ErrorCode.TASK_IMPOSSIBLE, f"A template can be used for instruction only, not for {task}.")
        if columns:
            return _refused(ErrorCode.TASK_IMPOSSIBLE, "A template and data.columns both name the columns; keep one.")
        return Resolution(task=Task.INSTRUCTION, text_columns=("",) * len(files), why="there is a template")
    if columns:
        return _by_columns(len(files), columns, task)
    kinds: Counter[Kind] = sum((Counter(detection.kinds) for _, detection in files), Counter())
    chosen, convertible, why = _chosen(task, kinds, any(detection.history for _, detection in files), supported)
    needs_text = chosen is Task.DOMAIN_ADAPTATION if task != "auto" or kinds else _all_tables(files)
    if not needs_text:
        return Resolution(task=chosen, convertible=convertible, text_columns=("",) * len(files), why=why)
    return _with_text_columns(files, convertible, why)


def _by_columns(files: int, columns: Columns, task: str) -> Resolution:
    """The user names the columns: a text for domain adaptation, or a question and its answer for another task."""
    fitting = (Task.DOMAIN_ADAPTATION,) if columns.text else (Task.CHAT, Task.INSTRUCTION)
    if task not in ("auto", *fitting):
        named = "text" if columns.text else "prompt and completion"
        return _refused(ErrorCode.TASK_IMPOSSIBLE, f"data.columns names {named}, which cannot be used for {task}.")
    chosen = fitting[0] if task == "auto" else Task(task)
    why = "run.json names the columns"
    return Resolution(task=chosen, convertible=True, text_columns=("",) * files, why=why)


def _chosen(task: str, kinds: Counter[Kind], history: bool, supported: Collection[str]) -> tuple[Task, bool, str]:
    if task != "auto":
        return Task(task), True, "run.json sets the task"
    if history:
        return Task.CHAT, True, "some rows have earlier turns, which an instruction row cannot have"
    most = max(Kind, key=lambda kind: kinds[kind])
    if not kinds:
        return Task.CHAT, True, "no row was recognised"
    if most is Kind.COLUMNS and Task.INSTRUCTION not in supported:
        return Task.CHAT, True, "the rows are instructions with answers, and the model supports chat only"
    chosen = next(task for task, kind in KIND_OF.items() if kind is most)
    return chosen, False, f"most of the first rows are {KINDS[most]}"


def _all_tables(files: Sequence[tuple[str, Detection]]) -> bool:
    """True if any column of the rows may be the text. Rows that cannot be read have errors of their own."""
    return all(detection.is_table and detection.rows_seen for _, detection in files)


def _with_text_columns(files: Sequence[tuple[str, Detection]], convertible: bool, why: str) -> Resolution:
    """Domain adaptation, with the text column of each table."""
    chosen = []
    for name, detection in files:
        if not detection.is_table or "text" in detection.columns:
            chosen.append("")
        elif len(detection.text_columns) == 1:
            chosen.append(detection.text_columns[0])
        else:
            message = f"none of its columns is known: {naming(detection.columns)}."
            if detection.has_header:
                message += " They are the first row, which is read as a header."
            return _refused(ErrorCode.COLUMNS_UNKNOWN, message, file=name, fix=_how_to_choose(detection))
    named = [column for column in chosen if column]
    why += f"; text column: {', '.join(named)}" if named else ""
    return Resolution(task=Task.DOMAIN_ADAPTATION, convertible=convertible, text_columns=tuple(chosen), why=why)


def _how_to_choose(detection: Detection) -> str:
    """The lines of run.json for the readings of a table, with its own columns."""
    texts = [*detection.text_columns, *(name for name in detection.columns if name not in detection.text_columns)]
    asked, answered = sorted(texts[:2], key=detection.columns.index) if len(texts) > 1 else ("…", "…")
    fix = (
        f'For questions and answers set "data": {{"columns": {{"prompt": "{asked}", "completion": "{answered}"}}}} in '
        f'run.json (or --columns prompt="{asked}",completion="{answered}"); for plain text {{"text": "{texts[0]}"}}.'
    )
    return fix + (
        ' If the first row is data, name the columns "column 1", "column 2" ….' if detection.has_header else ""
    )
