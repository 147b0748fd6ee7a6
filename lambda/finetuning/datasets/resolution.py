"""What a set of files is trained for, all of them together."""

from collections import Counter
from collections.abc import Collection, Sequence

from pydantic import BaseModel, ConfigDict

from finetuning.datasets.conversion import KIND_OF, KINDS
from finetuning.datasets.data_errors import FIXES, ErrorCode, naming
from finetuning.datasets.detection import Detection, Framing
from finetuning.datasets.options import DataOptions
from finetuning.datasets.shape import Kind
from finetuning.jumpstart.family import Task


class Resolution(BaseModel):
    """What an upload is trained for. `convertible`: see `Converter`. `text_columns`: one per file, "" if it has none.

    With a `refusal` the upload cannot be used.
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
    options: DataOptions,
    *,
    supported: Collection[str] = tuple(Task),
) -> Resolution:
    """What to train the files for, all of them together: the task that was asked for, else what most first rows are.

    `supported`: the tasks of the model. A model without instruction tuning is trained on instructions as chat.
    """
    task, has_template = options.task, options.template is not None
    for name, detection in files:
        if detection.refusal:
            return Resolution(refusal=detection.refusal, message=f"{name}: {detection.message}")
    framings = {detection.framing for _, detection in files}
    if Framing.TEXT in framings and len(framings) > 1:
        return Resolution(refusal=ErrorCode.FILES_MIXED, message="The upload has plain text (.txt) and rows of data.")
    asked = Task.INSTRUCTION if has_template else task
    if Framing.TEXT in framings and asked not in ("auto", Task.DOMAIN_ADAPTATION):
        message = f"Plain text (.txt) can be used for domain_adaptation only, not for {asked}."
        return Resolution(refusal=ErrorCode.TASK_IMPOSSIBLE, message=message)
    if has_template:
        if task not in ("auto", Task.INSTRUCTION):
            return Resolution(
                refusal=ErrorCode.TASK_IMPOSSIBLE,
                message=f"A template can be used for instruction only, not for {task}.",
            )
        return Resolution(task=Task.INSTRUCTION, text_columns=("",) * len(files), why="there is a template")
    kinds: Counter[Kind] = sum((Counter(detection.kinds) for _, detection in files), Counter())
    chosen, convertible, why = _chosen(task, kinds, any(detection.history for _, detection in files), supported)
    needs_text = chosen is Task.DOMAIN_ADAPTATION if task != "auto" or kinds else _all_tables(files)
    if not needs_text:
        return Resolution(task=chosen, convertible=convertible, text_columns=("",) * len(files), why=why)
    return _with_text_columns(files, convertible, why)


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
    return all(detection.is_table for _, detection in files)


def _with_text_columns(files: Sequence[tuple[str, Detection]], convertible: bool, why: str) -> Resolution:
    """Domain adaptation, with the text column of each table."""
    chosen = []
    for name, detection in files:
        if not detection.is_table or "text" in detection.columns:
            chosen.append("")
        elif len(detection.text_columns) == 1:
            chosen.append(detection.text_columns[0])
        else:
            found = "several columns could be the text" if detection.text_columns else "no column looks like text"
            return Resolution(
                refusal=ErrorCode.COLUMNS_UNKNOWN,
                message=f"{name}: {found}, and none is named `text`. The columns: {naming(detection.columns)}.",
            )
    named = [column for column in chosen if column]
    why += f"; text column: {', '.join(named)}" if named else ""
    return Resolution(task=Task.DOMAIN_ADAPTATION, convertible=convertible, text_columns=tuple(chosen), why=why)
