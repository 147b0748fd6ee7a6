"""`finetune`: the operator's command, put together from `finetuning_cli.commands`."""

import io
import os
import shutil
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from finetuning_cli.commands import (
    approvals,
    data,
    endpoints,
    evaluations,
    files,
    first_run,
    from_openai,
    init,
    plan,
    promotion,
    report,
    runs,
)
from finetuning_cli.commands.options import with_common_options

TRACEBACK = "FINETUNE_TRACEBACK"
"""The environment variable that asks for the traceback of an unexpected error."""

TABLES_FROM = 80
"""Columns of a terminal from which the help has tables. In fewer, they would cut the names of options short."""

app = typer.Typer(
    name="finetune",
    epilog="Exit codes: 0 success; 1 refused, failed, or answered no; 2 wrong usage; "
    "3 no measurable change and 4 worse (of a run that is watched or evaluated); 130 interrupted. "
    "NO_COLOR, AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL are respected. "
    f"{TRACEBACK}=1 shows the traceback of a bug in the command.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"finetune {version('finetune-llama-on-aws')}")
        raise typer.Exit()


COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Before a run": {
        "init": init.init,
        "from-openai": from_openai.from_openai,
        "check": data.check,
        "prepare": data.prepare,
        "plan": plan.plan,
        "models": plan.models,
        "verify-aws": plan.verify_aws,
        "first-run": first_run.first_run,
    },
    "Runs": {
        "submit": runs.submit,
        "watch": runs.watch,
        "runs": runs.runs,
        "logs": files.logs,
        "open": files.open_report,
        "report": report.report,
        "compare": evaluations.compare,
        "download": files.download,
        "stop": approvals.stop,
        "approve": approvals.approve,
        "reject": approvals.reject,
    },
    "Endpoints": {
        "ask": endpoints.ask,
        "token": endpoints.token,
        "evaluate": evaluations.evaluate,
        "endpoints": endpoints.endpoints,
        "extend": endpoints.extend,
        "deploy": endpoints.deploy,
        "promote": promotion.promote,
        "rollback": endpoints.rollback,
        "clean-up": endpoints.clean_up,
    },
}
for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(with_common_options(command))


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Fine-tune Llama on AWS from a data file: check it, plan it, submit it, watch it, ask the result."""


def main() -> None:
    """Runs the command. A failure is printed with its fix, with --json as `{error}`, and ends with exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        # Where the output is not UTF-8, as a pipe on Windows, a character that it does not have is shown as `?`.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    app.rich_markup_mode = "rich" if shutil.get_terminal_size().columns >= TABLES_FROM else None
    try:
        app(prog_name="finetune")
    except Exception as error:
        failure = _failure(error)
        if failure is None:
            raise
        _print_failure(failure)
        sys.exit(1)


def _failure(error: Exception) -> dict[str, Any] | None:
    """What to print of it; None for an unexpected error whose traceback is wanted."""
    from botocore.exceptions import BotoCoreError, ClientError

    from finetuning.errors import Code, FineTuningError
    from finetuning_cli.errors import to_cli_error

    if isinstance(error, FineTuningError | BotoCoreError | ClientError):
        return to_cli_error(error).as_dict()
    if isinstance(error, ModuleNotFoundError) and error.name == "pyarrow":
        return FineTuningError(
            Code.PARQUET_NOT_INSTALLED,
            "Parquet files need the package pyarrow, which is not installed.",
            'Install it: pip install "finetune-llama-on-aws[parquet]".',
        ).as_dict()
    if os.environ.get(TRACEBACK):
        return None
    return FineTuningError(
        Code.INTERNAL_ERROR,
        f"{type(error).__name__}: {error}",
        f"This is a bug in the command. Please report it with the output of {TRACEBACK}=1.",
    ).as_dict()


def _print_failure(failure: dict[str, Any]) -> None:
    from finetuning_cli.display.findings import error_panel
    from finetuning_cli.display.text import print_json

    if "--json" in sys.argv:
        print_json({"error": failure})
    else:
        Console(stderr=True).print(error_panel(failure))
