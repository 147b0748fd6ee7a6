"""The preflight's table in a terminal."""

from rich.table import Column, Table

from cli.display.runs import plain
from finetuning.runs.status import Check

SYMBOLS = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "yellow")}


def checks_table(checks: list[Check]) -> Table:
    """The preflight as a red, yellow and green table."""
    folded = (Column(overflow="fold") for _ in range(2))  # URIs and model ids are there to be copied
    table = Table(Column(), *folded, show_header=False, box=None, padding=(0, 1))
    for check in checks:
        symbol, style = SYMBOLS[check.ok]
        where = f" [{check.field}]" if check.field else ""
        table.add_row(plain(symbol, style), plain(check.check, "bold"), plain(f"{check.message}{where}"))
        if check.fix:
            table.add_row("", "", plain(f"→ {check.fix}", "dim"))
    return table
