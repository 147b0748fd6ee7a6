"""`finetune report`: a run's report page, as a link to open and share, or as a file."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from finetuning_cli.commands.options import AsJson, RunName, Stage


def report(
    run: RunName,
    save: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write the page to this file instead; works while the run is running."),
    ] = None,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Print a link that opens a run's report page, or save the page.

    The link opens without a login, for anyone who has it. It is signed with
    your credentials and expires after 12 hours, or earlier with your session.

    \b
    Examples:
      finetune report pirate
      finetune report pirate-0a1b2c3d --save report.html
    """
    from finetuning.operations.report_page import report_of
    from finetuning.report.messages import LINK_HOURS
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import find_run, report_link

    deployment = Deployment.find(stage)
    found = find_run(deployment, run)
    if save:
        page = report_of(found, stage)
        try:
            save.write_text(page, encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"Cannot write {save}: {error.strerror}.", param_hint="--save") from error
        document = {"run_id": found.run_id, "saved": str(save)}
        shown = f"Saved to {save}"
    else:
        url = report_link(deployment, found)
        until = datetime.now(UTC) + timedelta(hours=LINK_HOURS)
        document = {"run_id": found.run_id, "url": url, "expires_at": until.isoformat(timespec="seconds")}
        shown = f"Anyone with this link can open the report until {until:%d %b %H:%M} UTC at the latest:\n{url}"
    if as_json:
        print_json(document)
    else:
        Console().print(plain(shown), soft_wrap=True)
