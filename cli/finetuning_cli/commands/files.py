"""`finetune logs`, `download` and `open`: what a run has left, for a person."""

import shutil
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from finetuning_cli.commands.options import AsJson, RunName, Stage, progress_console


def logs(
    run: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log until the training ends.")] = False,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Print the log of a run's training job.

    \b
    Examples:
      finetune logs pirate | grep -i loss
      finetune logs pirate-0a1b2c3d --follow

    Ctrl-C stops the output, not the training.
    """
    from finetuning_cli.display.text import print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.logs import training_log
    from finetuning_cli.stage.runs import find_run

    found = find_run(Deployment.find(stage), run)
    lines = training_log(found, follow=follow)
    if as_json:
        print_json({"run_id": found.run_id, "lines": list(lines)})
        return
    try:
        for line in lines:
            print(line, flush=follow)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def download(
    run: RunName,
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Where to write the model. Created if needed.")],
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Download the tuned model of a run.

    Repeat the command to continue an interrupted download. Each file is
    compared with S3's checksum, or with its size if S3 has no checksum that
    Python can compute. SHA256SUMS lists the digests of all files.

    \b
    Examples:
      finetune download pirate model
      cd model && sha256sum --check SHA256SUMS
    """
    from finetuning_cli.display.progress_bars import download_bar
    from finetuning_cli.display.text import counted, plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.downloads import SUMS, bytes_to_download, model_files, write_sums
    from finetuning_cli.stage.downloads import download as download_file
    from finetuning_cli.stage.runs import find_run

    found = find_run(Deployment.find(stage), run)
    files = model_files(found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing, free = bytes_to_download(files, folder), shutil.disk_usage(folder).free
        if missing > free:
            room = f"{counted(missing, 'byte')} are still to be downloaded, and {folder} has {free:,} free."
            raise typer.BadParameter(f"{room} Choose another folder.", param_hint="FOLDER")
        with download_bar(progress_console(as_json), sum(file.size for file in files)) as advance:
            done = [download_file(file, folder, advance) for file in files]
        write_sums(folder, done)
    except OSError as error:
        again = "Repeat the command to continue the download."
        raise typer.BadParameter(f"Cannot write to {folder}: {error.strerror}. {again}", param_hint="FOLDER") from error
    if as_json:
        listed = [{"name": each.name, "sha256": each.sha256, "checked": each.checked} for each in done]
        print_json({"run_id": found.run_id, "folder": str(folder), "files": listed})
        return
    checked = sum(each.checked for each in done)
    rest = f", {len(done) - checked:,} by size" if checked < len(done) else ""
    said = (
        f"{counted(len(done), 'file')} in {folder}: {checked:,} compared with S3's checksums{rest}. {SUMS} lists all."
    )
    Console().print(plain(said), soft_wrap=True)


def open_report(run: RunName, stage: Stage = "dev", as_json: AsJson = False) -> None:
    """Open a run's report page in the browser.

    \b
    Example:
      finetune open pirate
    """
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import find_run, report_link

    deployment = Deployment.find(stage)
    found = find_run(deployment, run)
    url = report_link(deployment, found)
    opened = webbrowser.open(url)
    if as_json:
        print_json({"run_id": found.run_id, "url": url, "opened": opened})
    elif not opened:
        Console().print(plain(f"No browser found. Open this link:\n{url}"), soft_wrap=True)
