"""What `finetune first-run` will do and cost, and what it found out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from rich.console import Console
from rich.table import Column, Table

from finetuning_cli.display.findings import SYMBOLS, checks_table
from finetuning_cli.display.text import plain
from finetuning_cli.live.assumptions import Observation
from finetuning_cli.live.budget import Estimate
from finetuning_cli.live.first_run import PLAN
from finetuning_cli.preflight.planning import PlannedRun


def teller(console: Console) -> Callable[[str], None]:
    """Prints lines. Where nobody reads them any more, the command goes on: it has to remove what it made."""

    def tell(line: str) -> None:
        with suppress(OSError, SystemExit):  # a closed terminal; rich exits when the reader of a pipe is gone
            console.print(plain(line), soft_wrap=True)

    return tell


def print_plan(
    console: Console, planned: PlannedRun, estimate: Estimate | None, budget_usd: float, left: Sequence[str]
) -> None:
    """The steps with the cost, or why they cannot start."""
    if left:
        console.print("An earlier first run left these, which are removed first:")
        for line in left:
            console.print(plain(f"  {line}"), soft_wrap=True)
    if estimate is None:
        console.print(checks_table(planned.checklist.checks))
        console.print("[red]The first run cannot start. Nothing was started.[/]")
        return
    console.print("This uses real instances. It")
    for number, step in enumerate(PLAN, start=1):
        console.print(plain(f"  {number}. {step}"), soft_wrap=True)
    training, endpoint = estimate.instance_types
    console.print(
        plain(
            f"Cost: up to {estimate.usd:.2f} USD of {budget_usd:.2f} USD: {estimate.training_usd:.2f} for two "
            f"trainings on {training}, {estimate.endpoint_usd:.2f} for {estimate.endpoint_hours:.1f} hours "
            f"of {endpoint}."
        ),
        soft_wrap=True,
    )


def observations_table(observations: Mapping[str, Observation]) -> Table:
    """A row for each assumption: green if it holds, red if not, yellow if it could not be seen."""
    folded = (Column(overflow="fold") for _ in range(2))
    table = Table(Column(), *folded, show_header=False, box=None, padding=(0, 1))
    for id, observation in observations.items():
        symbol, style = SYMBOLS[observation.holds]
        table.add_row(plain(symbol, style), plain(id, "bold"), plain(observation.seen))
    return table
