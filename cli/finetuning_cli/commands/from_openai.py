"""`finetune from-openai`: a fine-tuning job of OpenAI's API as a folder that `finetune submit` takes."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from finetuning_cli.commands.options import AcceptEula, AsJson, MaxCost, Model, UntrainedAnswers, progress_console

if TYPE_CHECKING:
    from finetuning.datasets.dataset_report import DatasetReport
    from finetuning_cli.preflight.openai_job import Decision, PlacedFile


def from_openai(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="The job's files, for training and validation.")
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder to write, with a run.json.")],
    job: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The job, as OpenAI's API returns it.")
    ] = None,
    model: Model = None,
    accept_eula: AcceptEula = False,
    max_cost: MaxCost = None,
    untrained_answers: UntrainedAnswers = None,
    preferred_answers: Annotated[
        bool, typer.Option("--preferred-answers", help="Train on the preferred answers of pairs only.")
    ] = False,
    max_errors: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the rows that may be left out. Default: 0.01.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert an OpenAI fine-tuning job to a run: its files, a run.json, and what became of each setting.

    Counts rows that cannot be trained on: tools, images, examples for
    reinforcement. Writes nothing if a run would refuse the data. Works offline.

    \b
    Examples:
      finetune from-openai training.jsonl validation.jsonl --out support
      finetune from-openai file-abc.jsonl file-def.jsonl --job job.json --out support --accept-eula
      finetune from-openai pairs.jsonl --out support --preferred-answers --max-errors 0.2

    Exit code: 1 if the data would be refused, 2 if the folder has a run.json.
    """
    from finetuning.errors import Code, FineTuningError, RunRefused
    from finetuning.runs.layout import RUN_FILE
    from finetuning.runs.run_json import read_request
    from finetuning.settings import DEFAULT_MODEL
    from finetuning_cli.display.data import data_report
    from finetuning_cli.display.progress_bars import reading_bar
    from finetuning_cli.display.text import print_json
    from finetuning_cli.preflight.data import LocalData, check_data
    from finetuning_cli.preflight.documents import FACTS, SpecFolder
    from finetuning_cli.preflight.openai_job import OpenAIJob, place, read_job, run_settings

    if (out / RUN_FILE).exists():
        raise typer.BadParameter(f"{out / RUN_FILE} exists. Choose another folder.", param_hint="--out")
    given = read_job(job) if job else OpenAIJob()
    placed = place(files, given)
    for each in placed:
        if (out / each.target).exists() and not each.is_in(out):
            raise typer.BadParameter(f"{out / each.target} exists. Choose another folder.", param_hint="--out")
    spec = SpecFolder(FACTS).spec(model or DEFAULT_MODEL)
    document, decisions = run_settings(given, spec, accept_eula=accept_eula, max_cost_usd=max_cost)
    document |= {"max_error_fraction": max_errors} if max_errors is not None else {}
    document |= {"data": {"untrained_answers": untrained_answers.value}} if untrained_answers else {}
    request, findings = read_request(json.dumps(document).encode())
    if findings:
        raise RunRefused(findings)
    targets = tuple(each.target for each in placed)
    data = LocalData(tuple(files), tuple(files), targets, None, None, ())
    with reading_bar(progress_console(as_json=True), data.files) as progress:
        report = check_data(data, request, progress, spec=spec)
    pairs = sum(rows for shape, rows in report.shapes.items() if "preference" in shape)
    if (pairs or given.method.type == "dpo") and not preferred_answers:
        raise FineTuningError(
            Code.OPENAI_JOB_UNUSABLE,
            f"{pairs:,} rows are preference pairs. JumpStart's script trains on answers, and has no method for pairs.",
            "--preferred-answers trains on the preferred answers only.",
        )
    if report.ok:
        _write(out, placed, document)
    result = Result(out, document, decisions, placed, report)
    if as_json:
        print_json(result.as_dict())
    else:
        console = Console()
        result.print_to(console)
        console.print(data_report(report, console.width), crop=False)
        result.print_next(console)
    raise typer.Exit(0 if report.ok else 1)


@dataclass(frozen=True)
class Result:
    """What the command did."""

    out: Path
    run_json: dict[str, Any]
    decisions: "list[Decision]"
    files: "list[PlacedFile]"
    report: "DatasetReport"

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.out) if self.report.ok else None,
            "run_json": self.run_json,
            "decisions": [
                {"field": each.field, "value": each.value, "becomes": each.becomes} for each in self.decisions
            ],
            "files": {str(each.source): each.target for each in self.files},
            "report": {**self.report.model_dump(mode="json"), "ok": self.report.ok},
        }

    def print_to(self, console: Console) -> None:
        from finetuning_cli.display.text import records

        rows = [(each.field, each.value, each.becomes) for each in self.decisions]
        console.print(records(("Job", "Value", "Becomes"), rows, console.width, "Settings"))
        files = [(str(each.source), each.target, each.why) for each in self.files]
        console.print(records(("File", "Becomes", "Reason"), files, console.width))

    def print_next(self, console: Console) -> None:
        from finetuning_cli.display.text import plain

        if not self.report.ok:
            console.print("Nothing was written.")
            return
        console.print(plain(f"Written to {self.out}. See what it will do and cost:"))
        console.print(plain(f"  finetune plan {self.out}"), soft_wrap=True)
        if not self.run_json["accept_eula"]:
            console.print("run.json does not accept the model's licence: read it, and set accept_eula to true.")


def _write(out: Path, placed: "list[PlacedFile]", document: dict[str, Any]) -> None:
    from finetuning.runs.layout import RUN_FILE

    try:
        for each in placed:
            if each.is_in(out):
                continue
            (out / each.target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each.source, out / each.target)
        (out / RUN_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"Cannot write to {out}: {error.strerror}.", param_hint="--out") from error
