"""The diagram in docs/architecture.md; `python -m finetuning_cdk.state_machine.diagram` in the checkout updates it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetuning_cdk.state_machine.definition import State, definition

DOCUMENT = Path("docs/architecture.md")
BEGIN, END = "<!-- states: generated -->", "<!-- states: end -->"


def mermaid(machine: dict[str, Any]) -> str:
    """The definition as a Mermaid flowchart. One dotted arrow stands for every step's edge to ReportFailure."""
    lines = ["```mermaid", "flowchart TD", *_lines(machine["States"])]
    lines += ["  anyStep([any step that fails]) -.-> ReportFailure", "```"]
    return "\n".join(lines)


def _lines(states: dict[str, State], indent: str = "  ") -> Iterator[str]:
    """The states, those inside a Map in a frame of their own, and the edges between them."""
    for name, state in states.items():
        if state["Type"] == "Map":
            yield f"{indent}subgraph {name}[{name}: for each {[*state['ItemSelector']][-1]}]"
            yield from _lines(state["ItemProcessor"]["States"], indent + "  ")
            yield f"{indent}end"
        else:
            yield f"{indent}{_shape(name, state)}"
    for name, label, to in _edges(states):
        yield f"{indent}{name} -->{f'|{label}|' if label else ''} {to}"


def _shape(name: str, state: State) -> str:
    match state["Type"]:
        case "Choice":
            return f"{name}{{{name}}}"
        case "Succeed" | "Fail":
            return f"{name}([{name}])"
        case "Wait":
            return f"{name}[/{name}/]"
    return f"{name}[{name}]"


def _edges(states: dict[str, State]) -> Iterator[tuple[str, str, str]]:
    """(from, label, to) in the definition's order."""
    for name, state in states.items():
        for rule in state.get("Choices", ()):
            yield name, _condition(rule["Condition"]), rule["Next"]
        if "Default" in state:
            yield name, "else", state["Default"]
        if "Next" in state:
            yield name, "", state["Next"]
        for catch in state.get("Catch", ()):
            if catch["Next"] not in ("ReportFailure", state.get("Next")):
                yield name, "fails", catch["Next"]


def _condition(jsonata: str) -> str:
    """`{% $states.input.outcome = 'completed' and $deploy %}` → `completed, deploy`."""
    words = re.sub(r"\$states\.input\.(outcome = )?|[{}%$']", "", jsonata).strip()
    return words.replace(" and ", ", ")


def with_diagram(document: str) -> str:
    """The document with the diagram of the present definition between its markers."""
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n{mermaid(definition())}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_diagram(DOCUMENT.read_text()))
