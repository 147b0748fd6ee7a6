"""The preflight's table, and the panel of an error."""

from collections.abc import Iterator, Mapping, Sequence

from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from finetuning.runs.status import Check
from finetuning_cli.display.text import counted, plain
from finetuning_cli.live.account import AccountCheck

SYMBOLS = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "yellow")}
WARNING = ("!", "yellow")


def verified_table(checks: Sequence[AccountCheck]) -> Table:
    """The checks of each assumption: those that passed as a number, each other one with its row."""
    table = _table()
    for id in dict.fromkeys(check.assumption for check in checks):
        about = [check for check in checks if check.assumption == id]
        passed = sum(1 for check in about if check.ok)
        symbol, style = SYMBOLS[True if passed else None]
        table.add_row(plain(symbol, style), plain(id, "bold"), plain(f"{counted(passed, 'check')} passed"))
        _add_rows(table, [check for check in about if not check.ok])
    return table


def checks_table(checks: Sequence[Check]) -> Table:
    """A row per check: green if it passed, red if it failed, yellow if it is a warning or could not be checked."""
    table = _table()
    _add_rows(table, checks)
    return table


def _table() -> Table:
    folded = (Column(overflow="fold") for _ in range(2))  # users copy URIs and model ids
    return Table(Column(), *folded, show_header=False, box=None, padding=(0, 1))


def _add_rows(table: Table, checks: Sequence[Check]) -> None:
    for check in checks:
        symbol, style = WARNING if check.is_warning else SYMBOLS[check.ok]
        where = f" [{check.field}]" if check.field else ""
        table.add_row(plain(symbol, style), plain(check.check, "bold"), plain(f"{check.message}{where}"))
        if check.fix:
            table.add_row("", "", plain(f"→ {check.fix}", "dim"))


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
