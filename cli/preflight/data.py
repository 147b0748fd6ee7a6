"""What training would make of data files on this machine, by the code that the workflow uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.detection import SUFFIXES, is_data
from finetuning.datasets.limits import KEYS_NAMED
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import RowOptions
from finetuning.datasets.templates import TEMPLATE_FILE, Template, read_template
from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.jumpstart.catalogue import CATALOGUE, DEFAULT_FAMILY, support
from finetuning.jumpstart.family import ModelSupport, Task
from finetuning.jumpstart.hyperparameters import input_length
from finetuning.runs.layout import RUN_FILE
from finetuning.runs.run_json import RunRequest, read_request


@dataclass(frozen=True)
class LocalData:
    """Data files with the run.json and template.json beside them, None if there is none.

    `within`: each file's path within its folder, and so in the upload. `left_out`: files of the given folders that no
    run reads.
    """

    files: tuple[Path, ...]
    within: tuple[str, ...]
    run_json: Path | None
    template: Path | None
    left_out: tuple[Path, ...]

    @classmethod
    def read(cls, given: Sequence[Path]) -> Self:
        """Sorts files and folders' contents, at any depth. Given files are taken as data."""
        files: dict[Path, str] = {}
        left_out: list[Path] = []
        documents: dict[str, Path] = {}
        for path in given:
            if not path.is_dir():
                files[path] = path.name
                continue
            for each in sorted(each for each in path.rglob("*") if each.is_file()):
                name = each.relative_to(path).as_posix()
                if name in (RUN_FILE, TEMPLATE_FILE):
                    documents.setdefault(name, each)
                elif is_data(name):
                    files[each] = name
                elif not each.name.startswith("."):
                    left_out.append(each)
        return cls(
            tuple(files), tuple(files.values()), documents.get(RUN_FILE), documents.get(TEMPLATE_FILE), tuple(left_out)
        )

    @property
    def left_out_notes(self) -> list[str]:
        if not self.left_out:
            return []
        names = ", ".join(map(str, self.left_out[:KEYS_NAMED]))
        if (more := len(self.left_out) - KEYS_NAMED) > 0:
            names += f" and {more:,} more"
        note = f"Not used, because these are not data files: {names}"
        if any(path.suffix == ".arrow" for path in self.left_out):
            note += ". Write .arrow files as JSON Lines or Parquet: Dataset.to_json(path) or Dataset.to_parquet(path)"
        return [note]

    @property
    def uploads(self) -> dict[str, Path]:
        """What a run needs besides run.json, by its path in the upload."""
        beside = {TEMPLATE_FILE: self.template} if self.template else {}
        return dict(zip(self.within, self.files, strict=True)) | beside

    @property
    def run_json_body(self) -> bytes:
        """An empty object, which takes every default, where there is no run.json."""
        return self.run_json.read_bytes() if self.run_json else b"{}"

    def run_json_with(self, chosen: dict[str, Any]) -> bytes:
        """run.json with these fields of `data`; unchanged without any."""
        if not chosen:
            return self.run_json_body
        document = orjson.loads(self.run_json_body)
        document["data"] = document.get("data", {}) | chosen
        return orjson.dumps(document, option=orjson.OPT_INDENT_2)

    def require_files(self, folder: Path) -> None:
        """Raises `FineTuningError` (UPLOAD_WITHOUT_DATA) if there is no data file."""
        if not self.files:
            raise FineTuningError(
                Code.UPLOAD_WITHOUT_DATA,
                " ".join([f"There is no data file in {folder}.", *self.left_out_notes]),
                f"Add a file whose name ends in {', '.join(SUFFIXES)} (or one of these with .gz).",
            )

    def request(self) -> RunRequest:
        """What run.json asks for. Raises `RunRefused` if it cannot be read."""
        request, findings = read_request(self.run_json_body)
        if findings:
            raise RunRefused(findings)
        return request


def with_row_options(request: RunRequest, chosen: dict[str, Any]) -> RunRequest:
    """The request with these fields of `data` instead of its own."""
    data = RowOptions.model_validate(request.data.model_dump() | chosen)
    return request.model_copy(update={"data": data})


def check_data(
    data: LocalData,
    request: RunRequest,
    progress: Callable[[int], None],
    *,
    template_file: Path | None = None,
    out: Path | None = None,
) -> DatasetReport:
    """The report of the data files as a run with this request would use them; written to `out` if given.

    `template_file` overrides the request's template, which overrides the one beside the data. `progress` is called with
    the number of bytes read since its last call.
    """
    limits = support(request.model) if request.model else None
    options = request.data_options.model_copy(update={"template": _template(template_file, request, data)})
    report = prepare_files(
        data.files,
        out,
        within=data.within,
        options=options,
        supported=limits.tasks if limits else tuple(Task),
        max_input_length=_input_length(request, limits),
        family=(limits.family if limits else DEFAULT_FAMILY).name,
        progress=progress,
    )
    notes = [*report.notes, *data.left_out_notes]
    if data.run_json:
        notes.append(
            f"Read with {data.run_json}: {request.validation_fraction:.0%} held out, "
            f"{request.max_error_fraction:.0%} of the lines may be unusable"
        )
    return report.model_copy(update={"notes": notes})


def _template(file: Path | None, request: RunRequest, data: LocalData) -> Template | None:
    if file is None and request.template:
        return request.template
    file = file or data.template
    return read_template(file.read_bytes()) if file else None


def _input_length(request: RunRequest, limits: ModelSupport | None) -> int:
    """Tokens of a row that training reads: as set, else the model's, else the smallest of all models'."""
    default = limits.input_length if limits else min(each.input_length for each in CATALOGUE.values())
    return input_length(request.hyperparameters, default)
