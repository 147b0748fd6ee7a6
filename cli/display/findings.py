"""The preflight's table, and the panel of an error."""

from collections.abc import Iterator, Mapping

from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from cli.display.text import plain
from finetuning.runs.status import Check

SYMBOLS = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "yellow")}


def checks_table(checks: list[Check]) -> Table:
    """A row per check: green if it passed, red if it failed, yellow if it could not be checked."""
    folded = (Column(overflow="fold") for _ in range(2))  # users copy URIs and model ids
    table = Table(Column(), *folded, show_header=False, box=None, padding=(0, 1))
    for check in checks:
        symbol, style = SYMBOLS[check.ok]
        where = f" [{check.field}]" if check.field else ""
        table.add_row(plain(symbol, style), plain(check.check, "bold"), plain(f"{check.message}{where}"))
        if check.fix:
            table.add_row("", "", plain(f"→ {check.fix}", "dim"))
    return table


def error_panel(error: Mapping[str, object]) -> Panel:
    """An error: `{code, message, fix}`, perhaps with `findings` of the preflight or `log` lines of a failed job."""
    return Panel(Text("\n").join(_error_lines(error)), title=plain(str(error.get("code", ""))), border_style="red")


def _error_lines(error: Mapping[str, object]) -> Iterator[Text]:
    findings = error.get("findings")
    if isinstance(findings, list) and findings:
        for finding in findings:
            where = f"{finding['field']}: " if finding.get("field") else ""
            yield Text.assemble(("✗ ", "red"), plain(where, "bold"), plain(str(finding["message"])))
            yield Text.assemble(("  → ", "green"), plain(str(finding["fix"])))
        return
    yield plain(str(error.get("message", "The run recorded no cause.")))
    if error.get("fix"):
        yield Text.assemble(("→ ", "green"), plain(str(error["fix"])))
    log = error.get("log")
    if isinstance(log, list):
        yield from (plain(f"  │ {line}", "dim") for line in log)
