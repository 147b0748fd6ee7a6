"""`finetune`: the operator's command. Its parts are one file each; this one puts them together."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from cli.commands import approvals, data, endpoints, plan, report, runs
from cli.display.runs import error_panel
from cli.errors import to_cli_error
from cli.options import print_json
from finetuning.errors import Code, FineTuningError

TRACEBACK = "FINETUNE_TRACEBACK"
"""The environment variable that asks for a defect's traceback."""

app = typer.Typer(
    name="finetune",
    help="Fine-tune Llama on AWS from a data file: check it, plan it, submit it, watch it, ask the result.",
    epilog="Exit code: 0 done; 1 refused, failed, or answered no; 2 wrong usage; 130 interrupted. "
    "Colours follow NO_COLOR; AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL are respected. "
    f"{TRACEBACK}=1 shows the traceback of a defect.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Before a run": {
        "check": data.check,
        "prepare": data.prepare,
        "plan": plan.plan,
        "models": plan.models,
        "verify-aws": plan.verify_aws,
    },
    "Runs": {
        "submit": runs.submit,
        "watch": runs.watch,
        "runs": runs.runs,
        "report": report.report,
        "stop": approvals.stop,
        "approve": approvals.approve,
        "reject": approvals.reject,
    },
    "What answers, and what costs": {
        "ask": endpoints.ask,
        "endpoints": endpoints.endpoints,
        "extend": endpoints.extend,
        "deploy": endpoints.deploy,
        "rollback": endpoints.rollback,
        "clean-up": endpoints.clean_up,
    },
}
for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)


def main() -> None:
    """Runs the command. A failure is told with what to do, to a machine as `{error}`, and ends with code 1."""
    if region := os.environ.get("AWS_REGION"):
        os.environ["AWS_DEFAULT_REGION"] = region  # the only one boto3 reads; AWS's CLI and other SDKs prefer the first
    try:
        app(prog_name="finetune")
    except (FineTuningError, BotoCoreError, ClientError) as error:
        _fail(to_cli_error(error))
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        _fail(
            FineTuningError(
                Code.INTERNAL_ERROR,
                f"{type(error).__name__}: {error}",
                f"This is a defect of the command. Please report it with what {TRACEBACK}=1 prints.",
            )
        )


def _fail(error: FineTuningError) -> NoReturn:
    if "--json" in sys.argv:
        print_json({"error": error.as_dict()})
    else:
        Console(stderr=True).print(error_panel(error.as_dict()))
    sys.exit(1)
