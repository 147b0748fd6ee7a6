"""The models that can be fine-tuned, in a terminal."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from finetuning_cli.display.text import WIDE_ENOUGH, plain


def model_facts(row: dict[str, Any], width: int) -> Table | Text:
    """A row of `finetune models --json`; the first instance type is the default."""
    if "error" in row:
        return plain(row["error"], "red")

    def priced(types: dict[str, float | None], shown: int) -> str:
        lines = [f"{name} {f'{usd:.2f}' if usd else '?'}" for name, usd in types.items()]
        return "\n".join(lines[:shown] + ([f"and {len(lines) - shown} more"] if len(lines) > shown else []))

    imported = row["bedrock"]
    bedrock = f"Bedrock {imported['usd_per_hour']:.2f}" if imported else "not for Bedrock"
    facts = {
        "tasks": "\n".join([*row["tasks"], *(f"({task}: planned)" for task in row["planned_tasks"])]),
        "training instance": priced(row["training_instance_types"], 5),
        "endpoint instance": priced(row["endpoint_instance_types"], 3),
        "facts": f"{row['version']}\n{row['provenance']}\n{row['method']}\n{bedrock}",
    }
    if width < WIDE_ENOUGH:
        return plain("\n".join(f"  {name}: {', '.join(value.splitlines())}" for name, value in facts.items()))
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1))
    for column in facts:
        table.add_column(column, overflow="fold", ratio=1)
    table.add_row(*map(plain, facts.values()))
    return table
