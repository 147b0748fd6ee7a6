"""What training would make of data files on this machine, by the code that the workflow uses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import orjson

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.encoding import BOM
from finetuning.datasets.formats import SUFFIXES, is_data
from finetuning.datasets.limits import KEYS_NAMED
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.templates import TEMPLATE_FILE, Template, read_template
from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.hyperparameters import input_length, merge
from finetuning.jumpstart.spec import ModelSpec
from finetuning.planning.submission import training_types
from finetuning.runs.layout import RUN_FILE
from finetuning.runs.run_json import MAX_BYTES, RunRequest, read_request
from finetuning.runs.uploads import data_stem
from finetuning.settings import DEFAULT_MODEL
from finetuning_cli.preflight.documents import FACTS, SpecFolder


@dataclass(frozen=True)
class LocalData:
    """Data files with the run.json and template.json beside them, None if there is none.

    `within`: each file's path within its folder, and so in the upload. `left_out`: files of the given folders that no
    run reads. `options`: fields of run.json that were given at the terminal, in place of the file's own.
    """

    given: tuple[Path, ...]
    files: tuple[Path, ...]
    within: tuple[str, ...]
    run_json: Path | None
    template: Path | None
    left_out: tuple[Path, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

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
            tuple(given),
            tuple(files),
            tuple(files.values()),
            documents.get(RUN_FILE),
            documents.get(TEMPLATE_FILE),
            tuple(left_out),
        )

    @classmethod
    def read_upload(cls, path: Path) -> Self:
        """A folder, a data file, or a run.json: with the data beside it if it has that name, else alone."""
        if not is_run_json(path):
            return cls.read([path])
        beside = cls.read([path.parent] if path.name == RUN_FILE else [])
        return replace(beside, given=(path,), run_json=path)

    @property
    def is_run_json_alone(self) -> bool:
        return self.given == (self.run_json,) and not self.files

    @property
    def name(self) -> str:
        """The upload's: that of the folder, or of the file without its suffix."""
        path = self.given[0].resolve()
        if path.is_dir():
            return path.name
        return path.parent.name if path.name == RUN_FILE else data_stem(path.name)

    @property
    def checked(self) -> tuple[Path, ...]:
        """What `finetune check` takes to read the same data with the same run.json."""
        return (self.run_json.parent,) if self.run_json in self.given else self.given

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with these fields of run.json; those that are objects are merged with the file's."""
        return replace(self, options=_merged(self.options, options))

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
        """run.json as it is uploaded. An empty object, which takes every default, where there is none.

        Unchanged without options, and if it cannot be read, which is then reported.
        """
        body = self.run_json.read_bytes() if self.run_json else b"{}"
        if not self.options:
            return body
        try:
            document = orjson.loads(body.removeprefix(BOM))
        except orjson.JSONDecodeError:
            return body
        if not isinstance(document, dict):
            return body
        return orjson.dumps(_merged(document, self.options), option=orjson.OPT_INDENT_2)

    def require_files(self) -> None:
        """Raises `FineTuningError` (UPLOAD_WITHOUT_DATA) if there is no data file."""
        if not self.files:
            where = " ".join(map(str, self.given))
            raise FineTuningError(
                Code.UPLOAD_WITHOUT_DATA,
                " ".join([f"There is no data file in {where}.", *self.left_out_notes]),
                f"Add a file whose name ends in {', '.join(SUFFIXES)} (or one of these with .gz).",
            )

    def request(self) -> RunRequest:
        """What run.json asks for. Raises `RunRefused` if it cannot be read."""
        request, findings = read_request(self.run_json_body)
        if findings:
            raise RunRefused(findings)
        return request


def is_run_json(path: Path) -> bool:
    """True for a file of a run's settings: by its name, or because run.json may have all that it holds."""
    if path.is_dir() or path.suffix != ".json" or path.stat().st_size > MAX_BYTES:
        return False
    named = path.name == RUN_FILE or path.name.endswith(f".{RUN_FILE}")
    return named or not read_request(path.read_bytes())[1]


def _merged(document: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for name, value in chosen.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def check_data(
    data: LocalData,
    request: RunRequest,
    progress: Callable[[int], None],
    *,
    spec: ModelSpec | None = None,
    template_file: Path | None = None,
    out: Path | None = None,
) -> DatasetReport:
    """The report of the data files as a run with this request would use them; written to `out` if given.

    `spec`: of the run's model; by default as this project keeps it. `template_file` overrides the request's template,
    which overrides the one beside the data. `progress` is called with the number of bytes read since its last call.
    Raises `FineTuningError` for an unknown model and for a template that cannot be used.
    """
    model = support(spec.model_id if spec else request.model or DEFAULT_MODEL)
    options = request.data_options.model_copy(update={"template": _template(template_file, request, data)})
    report = prepare_files(
        data.files,
        out,
        within=data.within,
        options=options,
        supported=model.tasks,
        max_input_length=row_length(request, spec or SpecFolder(FACTS).spec(model.model_id)),
        family=model.family.name,
        progress=progress,
    )
    notes = [*report.notes, *data.left_out_notes]
    if data.run_json:
        notes.append(
            f"Read with {data.run_json}: {request.validation_fraction:.0%} held out, "
            f"{request.max_error_fraction:.0%} of the lines may be unusable"
        )
    return report.model_copy(update={"notes": notes})


def row_length(request: RunRequest, spec: ModelSpec) -> int:
    """Tokens of a row that training reads, as the workflow computes them from its plan."""
    hyperparameters, _ = merge(spec, training_types(request, spec)[0], None, request.hyperparameters)
    return input_length(hyperparameters, support(spec.model_id).input_length)


def _template(file: Path | None, request: RunRequest, data: LocalData) -> Template | None:
    if file is None and request.template:
        return request.template
    file = file or data.template
    return read_template(file.read_bytes()) if file else None
