"""`finetune check` and `finetune prepare`: what training would make of data files, before they are uploaded."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from finetuning_cli.commands.options import (
    AsJson,
    ColumnNames,
    MaxTokens,
    Model,
    NearDuplicates,
    TaskChoice,
    TaskName,
    UntrainedAnswers,
    progress_console,
    row_options,
)

if TYPE_CHECKING:
    from finetuning.datasets.dataset_report import DatasetReport
    from finetuning_cli.preflight.data import LocalData

REPORT = "report.json"
"""What `prepare` writes beside the data."""

Files = Annotated[list[Path], typer.Argument(exists=True, help="Data files, or folders of them.")]
ForGitHub = Annotated[bool, typer.Option("--github", help="Print annotations for GitHub Actions.")]
TemplateFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A template.json. Default: the one in the folder, if there is one."),
]


def check(
    files: Files,
    as_json: AsJson = False,
    as_github: ForGitHub = False,
    model: Model = None,
    task: TaskName = None,
    template: TemplateFile = None,
    columns: ColumnNames = None,
    untrained_answers: UntrainedAnswers = None,
    near_duplicates: NearDuplicates = None,
    max_tokens: MaxTokens = None,
) -> None:
    """Check data files: what they contain, what training would use, and every line with an error.

    A folder's run.json and template.json apply as they do in a run; options override them.

    \b
    Examples:
      finetune check faq.jsonl
      finetune check data/ --model meta-textgeneration-llama-3-1-8b-instruct --task chat
      finetune check tickets.csv --columns prompt="Customer question",completion="Agent reply"
      finetune check *.csv --json | jq .error_counts
      finetune check data/ --github

    Exit code: 0 if the data can be trained on, 1 if the workflow would refuse it.
    """
    if as_json and as_github:
        raise typer.BadParameter("Choose --json or --github.", param_hint="--github")
    data = _read(files, model, task, row_options(columns, untrained_answers, near_duplicates, max_tokens))
    if as_github:
        raise typer.Exit(0 if _annotate(data, template) else 1)
    report = _report(data, template)
    _print(report, as_json)
    raise typer.Exit(0 if report.ok else 1)


def prepare(
    files: Files,
    out: Annotated[
        Path,
        typer.Option(file_okay=False, writable=True, help="Where to write train/, validation/ and report.json."),
    ],
    model: Model = None,
    task: TaskName = None,
    template: TemplateFile = None,
    columns: ColumnNames = None,
    untrained_answers: UntrainedAnswers = None,
    near_duplicates: NearDuplicates = None,
    max_tokens: MaxTokens = None,
    as_json: AsJson = False,
) -> None:
    """Write the files that training would get, exactly as the workflow writes them.

    A folder's run.json and template.json apply as they do in a run; options override them.

    \b
    Example:
      finetune prepare examples/chat --out prepared
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"Cannot create {out}: {error.strerror}.", param_hint="--out") from error
    data = _read(files, model, task, row_options(columns, untrained_answers, near_duplicates, max_tokens))
    if others := _files_of_others(out, data.files):
        shown = ", ".join(str(path.relative_to(out)) for path in others[:3]) + (" …" if len(others) > 3 else "")
        raise typer.BadParameter(
            f"{out} has files that `prepare` did not write and would replace: {shown}. Choose another folder.",
            param_hint="--out",
        )
    report = _report(data, template, out)
    (out / REPORT).write_text(report.model_dump_json(indent=2), encoding="utf-8")
    _print(report, as_json)
    if report.ok and not as_json:
        Console().print(f"Written to {out}/train and {out}/validation", highlight=False)
    raise typer.Exit(0 if report.ok else 1)


def _read(given: list[Path], model: str | None, task: TaskChoice | None, rows: dict[str, Any]) -> "LocalData":
    from finetuning_cli.preflight.data import LocalData

    data = LocalData.read(given)
    if not data.files:
        raise typer.BadParameter(
            " ".join(["There is no data file in this folder.", *data.left_out_notes]), param_hint="FILES"
        )
    asked = {name: value for name, value in (("model", model), ("task", task and task.value), ("data", rows)) if value}
    return data.with_options(asked)


def _files_of_others(out: Path, given: Sequence[Path]) -> list[Path]:
    """What is in the place of a result and was not written by this command. Its own report tells an earlier result."""
    from pydantic import ValidationError

    from finetuning.datasets.dataset_report import DatasetReport
    from finetuning.datasets.shard_result import TEST, TRAIN, VALIDATION

    inputs, earlier, report = {path.resolve() for path in given}, False, out / REPORT
    if report.is_file():
        try:
            DatasetReport.model_validate_json(report.read_bytes())
            earlier = True
        except ValidationError:
            return [report]
    there = [path for channel in (TRAIN, VALIDATION, TEST) for path in sorted((out / channel).glob("*"))]
    return [path for path in there if not earlier or path.resolve() in inputs]


def _report(data: "LocalData", template: Path | None, out: Path | None = None) -> "DatasetReport":
    from finetuning_cli.display.progress_bars import reading_bar
    from finetuning_cli.preflight.data import check_data

    with reading_bar(progress_console(as_json=True), data.files) as progress:
        return check_data(data, data.request(), progress, template_file=template, out=out)


def _annotate(data: "LocalData", template: Path | None) -> bool:
    """Prints the annotations, also those of a run.json or template.json that cannot be used; True if all is well."""
    from finetuning.errors import Code, FineTuningError
    from finetuning_cli.display.annotations import of_error, of_report

    root = Path(os.environ.get("GITHUB_WORKSPACE", "."))
    try:
        report = _report(data, template)
    except FineTuningError as error:
        print(
            *of_error(error, template or data.template if error.code == Code.TEMPLATE_INVALID else data.run_json, root),
            sep="\n",
        )
        return False
    print(*of_report(report, root), sep="\n")
    return report.ok


def _print(report: "DatasetReport", as_json: bool) -> None:
    from finetuning_cli.display.data import data_report
    from finetuning_cli.display.text import print_json

    if as_json:
        print_json({**report.model_dump(mode="json"), "ok": report.ok})
    else:
        console = Console()
        console.print(data_report(report, console.width), crop=False)
