"""`finetune`: the operator's command. Its parts are one file each; this one puts them together."""

import sys

import typer
from rich.console import Console

from cli import data, decisions, endpoints, plan, report, runs
from cli.display import error_panel
from finetuning.errors import FineTuningError

app = typer.Typer(
    name="finetune",
    help="Fine-tune Llama on AWS from a data file: check it, plan it, submit it, watch it, ask the result.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check")(data.check)
app.command("prepare")(data.prepare)
app.command("models")(plan.models)
app.command("plan")(plan.plan)
app.command("verify-aws")(plan.verify_aws)
app.command("submit")(runs.submit)
app.command("watch")(runs.watch)
app.command("report")(report.report)
app.command("approve")(decisions.approve)
app.command("reject")(decisions.reject)
app.command("ask")(endpoints.ask)
app.command("runs")(runs.runs)
app.command("endpoints")(endpoints.endpoints)
app.command("clean-up")(endpoints.clean_up)


def main() -> None:
    """Runs the command; a typed failure is told with what to do, and ends with exit code 1."""
    try:
        app()
    except FineTuningError as error:
        Console(stderr=True).print(error_panel(error.as_dict()))
        sys.exit(1)
