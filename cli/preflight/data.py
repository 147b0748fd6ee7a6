"""What training would make of data files on this machine, by the code that the workflow uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from finetuning.aws.upload_bucket import is_data
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.detection import SUFFIXES
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.templates import Template, read_template
from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.jumpstart.catalogue import CATALOGUE, DEFAULT_FAMILY, support
from finetuning.jumpstart.family import ModelSupport, Task
from finetuning.jumpstart.hyperparameters import input_length
from finetuning.runs.layout import RUN_FILE, TEMPLATE_FILE
from finetuning.runs.run_json import RunRequest, read_request


@dataclass(frozen=True)
class LocalData:
    """Data files with the run.json and template.json beside them, None if there is none.

    `left_out`: files and folders of the given folders that no run reads.
    """

    files: tuple[Path, ...]
    run_json: Path | None
    template: Path | None
    left_out: tuple[Path, ...]

    @classmethod
    def read(cls, given: Sequence[Path]) -> Self:
        """Sorts files and folders' contents. Hidden files of a folder are skipped; given files are taken as data."""
        files, left_out = [], []
        documents: dict[str, Path] = {}
        for path in given:
            if not path.is_dir():
                files.append(path)
                continue
            for each in sorted(each for each in path.iterdir() if not each.name.startswith(".")):
                if each.is_file() and each.name in (RUN_FILE, TEMPLATE_FILE):
                    documents.setdefault(each.name, each)
                elif each.is_file() and is_data(each.name):
                    files.append(each)
                else:
                    left_out.append(each)
        return cls(tuple(files), documents.get(RUN_FILE), documents.get(TEMPLATE_FILE), tuple(left_out))

    @property
    def left_out_notes(self) -> list[str]:
        names = ", ".join(f"{path}/" if path.is_dir() else str(path) for path in self.left_out)
        return [f"Not used, because these are not data files: {names}"] if names else []

    @property
    def uploads(self) -> list[Path]:
        """What a run needs besides run.json."""
        return [*self.files, *([self.template] if self.template else [])]

    @property
    def run_json_body(self) -> bytes:
        """An empty object, which takes every default, where there is no run.json."""
        return self.run_json.read_bytes() if self.run_json else b"{}"

    def require_files(self, folder: Path) -> None:
        """Raises `FineTuningError` (UPLOAD_WITHOUT_DATA) if there is no data file."""
        if not self.files:
            raise FineTuningError(
                Code.UPLOAD_WITHOUT_DATA,
                f"There is no data file in {folder}.",
                f"Add a file whose name ends in {', '.join(SUFFIXES)} (or one of these with .gz).",
            )

    def request(self) -> RunRequest:
        """What run.json asks for. Raises `RunRefused` if it cannot be read."""
        request, findings = read_request(self.run_json_body)
        if findings:
            raise RunRefused(findings)
        return request


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
