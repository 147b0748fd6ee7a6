"""`finetune report`: a run's report page, as a link to open and to hand on, or as a file."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.display.runs import plain
from cli.options import AsJson, Stage, now, print_json
from cli.stage.deployment import Deployment
from cli.stage.runs import find_run
from finetuning.errors import Code, FineTuningError
from finetuning.operations.report_page import report_of
from finetuning.report import commands
from finetuning.report.messages import LINK_HOURS
from finetuning.runs.layout import RunLayout


def report(
    run: Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")],
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the page to a file instead, as far as the run has come.")
    ] = None,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Print a link that opens a run's report page, or save the page.

    The link opens without a login, for whoever has it. It is signed with
    your credentials: it ends after 12 hours, or earlier with your session.

    \b
    Examples:
      finetune report pirate
      finetune report pirate-0a1b2c3d --save report.html
    """
    deployment = Deployment.find(stage)
    run_id = find_run(deployment, run)
    if save:
        page = report_of(deployment.store, run_id, stage)
        try:
            save.write_text(page, encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"{save} cannot be written: {error.strerror}.", param_hint="--save") from error
        document = {"run_id": run_id, "saved": str(save)}
        shown = f"Saved to {save}"
    else:
        status = deployment.status(run_id)
        if status and not status.state.is_final:
            raise FineTuningError(
                Code.REPORT_NOT_WRITTEN,
                f"The run {run_id} goes on; its report page is written when it ends.",
                f"Follow it with `{commands.watch(run_id, stage)}`, or see the page so far with --save FILE.",
            )
        url = deployment.store.link(RunLayout(run_id).report_page, LINK_HOURS)
        until = now() + timedelta(hours=LINK_HOURS)
        document = {"run_id": run_id, "url": url, "expires_at": until.isoformat(timespec="seconds")}
        shown = f"Opens until {until:%d %b %H:%M} UTC at the latest, for whoever has it:\n{url}"
    if as_json:
        print_json(document)
    else:
        Console().print(plain(shown), soft_wrap=True)
