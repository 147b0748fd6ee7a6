"""What the documentation names exists: files, headings, commands, options, make targets, fields, layers, titles."""

import ast
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
import typer
from botocore import xform_name
from typer.core import TyperGroup

from finetuning.bedrock.facts import import_facts
from finetuning.bedrock.prices import HOURS_A_MONTH, import_price
from finetuning.datasets.data_errors import ErrorCode
from finetuning.errors import Code
from finetuning.jumpstart.assumptions import fallback_price
from finetuning.jumpstart.catalogue import CATALOGUE, support
from finetuning.planning.estimate import estimate
from finetuning.runs.run_json import read_request
from finetuning_cli.main import app
from finetuning_cli.preflight.models import FACTS, ModelFacts
from rehearsal.example_settings import HYPERPARAMETERS
from rehearsal.scenarios import SCENARIOS
from tests.builders.documents import run_json_fields

ROOT = Path(__file__).resolve().parents[2]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
TRANSLATIONS = set(ROOT.glob("*.zh.md"))
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if "node_modules" not in path.parts
)
COMMANDS = typer.main.get_command(app)
AWS_CONSOLE = {"View logs"}
"""Titles in docs/console.md that are AWS's own."""
OTHER_CAPITALS = {"TIMED_OUT", "DELETE_FAILED"}
"""States of an execution and of a stack; environment variables have a value or stand in code."""


def code_in(document: Path) -> Iterator[str]:
    """Inline code and the lines of code blocks: what a reader may type."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    yield from (line for block in blocks for line in block.splitlines())
    yield from re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(document: Path) -> set[str]:
    """The anchors GitHub generates for a document's headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def directories() -> set[str]:
    """Top-level directories that are part of the project."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    named = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."}
    return {name for name in named if not any(fnmatchcase(name, pattern) for pattern in ignored)}


def first_cells(document: Path, heading: str) -> list[str]:
    """The code in the first column of the table under a heading."""
    section = document.read_text(encoding="utf-8").partition(f"# {heading}\n")[2].partition("\n#")[0]
    return [
        name for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(.+?)`", cell)
    ]


def literals(folder: Path) -> set[str]:
    """Every string in the Python files of a folder; of an f-string its constant parts."""
    nodes = (node for file in folder.rglob("*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    dead = []
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", document.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = document.parent / file if file else document
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_is_named_exists(document: Path) -> None:
    named = [code for code in code_in(document) if re.fullmatch(r"[\w./-]+", code) and "/" in code]
    paths = [code for code in named if code.partition("/")[0] in directories()]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_dev_container_validates_run_json_by_its_schema() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    (schema,) = container["customizations"]["vscode"]["settings"]["json.schemas"]
    assert (ROOT / schema["url"]).resolve() == ROOT / "cli" / "finetuning_cli" / "run.schema.json"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_and_option_that_is_named_exists(document: Path) -> None:
    assert isinstance(COMMANDS, TyperGroup)
    unknown = []
    for code in code_in(document):
        for name, rest in re.findall(r"(?:^|\s)finetune ([a-z][a-z-]+)\b([^|&;]*)", code):
            command = COMMANDS.commands.get(name)
            options = {word for each in command.params for word in each.opts} if command else set()
            if command is None or set(re.findall(r"(?<!\S)--[a-z-]+", rest)) - options:
                unknown.append(code)
    assert unknown == []


def test_the_reference_lists_every_command() -> None:
    assert isinstance(COMMANDS, TyperGroup)
    visible = {name for name, command in COMMANDS.commands.items() if not command.hidden}
    listed = {cell.split()[0] for cell in first_cells(ROOT / "docs" / "commands.md", "The command")}
    assert listed == visible


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_and_variable_that_is_named_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    unknown = []
    for code in code_in(document):
        unknown += [code for name in re.findall(r"^make ([a-z-]+)", code) if name not in targets]
        variables = set(re.findall(r"\b([A-Z]+)=", code)) if re.match(r"make |[A-Z]+=", code) else set()
        unknown += [code for variable in variables - {"PYTHONPATH"} if f"$({variable})" not in makefile]
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_example_and_fault_that_is_named_exists(document: Path) -> None:
    known = {"EXAMPLE": set(HYPERPARAMETERS), "FAULT": set(map(str, SCENARIOS))}
    named = [found for code in code_in(document) for found in re.findall(r"\b(EXAMPLE|FAULT)=([\w-]+)", code)]
    assert [value for variable, value in named if value not in known[variable]] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_aws_command_that_is_named_exists(document: Path) -> None:
    unknown = []
    for code in code_in(document):
        for service, command in re.findall(r"(?:^|\s)aws ([a-z0-9-]+) ([a-z-]+)", code):
            if service in ("s3", "configure", "sso"):  # the CLI's own commands, not operations of an API
                continue
            client = boto3.client({"s3api": "s3"}.get(service, service), region_name="us-east-1")
            operations = {xform_name(name, "-") for name in client.meta.service_model.operation_names}
            unknown += [] if command in operations else [code]
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_field_of_run_json_that_is_named_exists(document: Path) -> None:
    known = set(run_json_fields())
    known |= {name.rpartition(".")[0] for name in known}
    named = {
        code for code in code_in(document) if re.fullmatch(r"(training|endpoint|evaluation|template)\.[a-z_.]+", code)
    }
    assert sorted(name for name in named - known if not name.endswith(".json")) == []


def test_every_run_json_in_the_readme_is_valid() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    assert [read_request(block.encode())[1] for block in blocks] == [[]] * len(blocks)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_error_code_that_is_named_exists(document: Path) -> None:
    text = re.sub(r"`[^`]*`", "", document.read_text(encoding="utf-8"))
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text))
    assert named - set(Code) - set(ErrorCode) - OTHER_CAPITALS == set()


def test_the_readme_counts_the_models() -> None:
    counts = re.findall(r"(\d+) (?:Llama )?models", README.read_text(encoding="utf-8"))
    assert counts == [str(len(CATALOGUE))] * 2


def test_every_price_in_the_readme_is_the_assumed_one() -> None:
    prices = re.findall(r"`(ml\.[\w.]+)` \((\d+\.\d\d) USD", README.read_text(encoding="utf-8"))
    assumed = [(name, price.usd_per_hour if (price := fallback_price(name, "training")) else 0) for name, _ in prices]
    assert prices
    assert [(name, float(price)) for name, price in prices] == assumed


def test_the_readme_links_to_every_document() -> None:
    links = re.findall(r"\]\((docs/[\w.-]+)", README.read_text(encoding="utf-8"))
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")} - set(links) == set()


def test_the_side_bar_of_the_site_has_every_document() -> None:
    source = ast.parse((ROOT / "docs" / "site" / "conf.py").read_text(encoding="utf-8"))
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper()
    }
    listed = [f"docs/{page}.md" for pages in values["NAVIGATION"].values() for page in pages]
    listed += [f"{page}.md" for page in values["PROJECT_PAGES"]] + ["README.md"]
    documents = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
    assert sorted(path for path in documents if not path.startswith("docs/adr/0")) == sorted(listed)


def test_the_index_of_decisions_has_every_record_with_its_title() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(
        r"^\| \[(\d+)\]\((.+)\) \| (.*) \|$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    titles = [(path.name, path.read_text(encoding="utf-8").splitlines()[0]) for path in sorted(folder.glob("0*.md"))]
    assert [(name, f"# {number}. {title}") for number, name, title in listed] == titles


def test_contributing_describes_every_directory() -> None:
    listed = {path.partition("/")[0] for path in first_cells(CONTRIBUTING, "Layout") if path.endswith("/")}
    listed = {name for name in listed if name[0] != "."}
    assert listed == directories()


def test_contributing_lists_the_layers_that_are_checked() -> None:
    contracts: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
    layers = next(each["layers"] for each in contracts if "finetuning.handlers" in each.get("layers", []))
    checked = [name.removeprefix("finetuning.") for layer in layers for name in re.split(r" [:|] ", layer)]
    assert first_cells(CONTRIBUTING, "Layers of `lambda/finetuning`") == checked


def test_the_table_of_permissions_lists_every_function() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("\n## Permissions\n")[2].partition("\n## ")[0]
    listed = [name for cell in re.findall(r"^\| ([A-Z][\w, ]+) \|", section, re.MULTILINE) for name in cell.split(", ")]
    modules = {path.stem for path in (ROOT / "lambda" / "finetuning" / "handlers").glob("*.py")} - {"__init__", "step"}
    assert sorted(listed) == sorted(module.title().replace("_", "") for module in modules)


def test_every_title_in_the_console_guide_exists() -> None:
    titles = set(
        re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", (ROOT / "docs" / "console.md").read_text(encoding="utf-8"))
    )
    known = literals(ROOT / "infra") | literals(ROOT / "lambda")
    assert {title for title in titles - AWS_CONSOLE if not any(text.startswith(title) for text in known)} == set()


def test_no_paragraph_occurs_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for document in set(DOCUMENTS) - TRANSLATIONS:
        for block in re.split(r"\n\s*\n", document.read_text(encoding="utf-8")):
            paragraph = " ".join(block.split())
            if len(paragraph) > 60:  # shorter ones are headings and the frames of lists
                places[paragraph].append(document.name)
    assert [(found, paragraph) for paragraph, found in places.items() if len(found) > 1] == []


PAY_PER_USE = (ROOT / "docs" / "pay-per-use.md").read_text(encoding="utf-8")


def test_the_prices_of_imported_models_are_those_of_a_plan() -> None:
    rows = re.findall(
        r"^\| `(meta-\S+)` \| (.*) \| `(ml\.\S+)` \| (\S+) \| (\S+) h a day \|$", PAY_PER_USE, re.MULTILINE
    )
    facts = ModelFacts.kept(FACTS)
    for model_id, figures, instance_type, month, hours in rows:
        price, hourly = import_price(CATALOGUE[model_id], "us-east-1"), fallback_price(instance_type, "hosting")
        assert price
        assert hourly
        assert instance_type == facts.documents.spec(model_id).default_inference_instance_type
        usd = (price.usd_per_window, price.usd_per_hour, price.usd_per_month_stored, price.usd_per_month(24))
        assert figures.split(" | ") == [str(price.units), *(f"{each:,.2f}" for each in usd)]
        assert month == f"{hourly.usd_per_hour * HOURS_A_MONTH:,.2f}"
        assert hours == f"{price.break_even(hourly.usd_per_hour):.1f}"
    assert len(rows) == 5


def test_a_month_of_an_imported_model_is_that_of_a_plan() -> None:
    eight, seventy = (
        import_price(CATALOGUE[f"meta-textgeneration-llama-3-1-{size}"], "us-east-1") for size in ("8b", "70b")
    )
    assert eight
    assert seventy
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.,]+) \| ([\d.,]+) \|$", PAY_PER_USE, re.MULTILINE)
    for hours, small, large in rows:
        months = [f"{price.usd_per_month(float(hours)):,.2f}" for price in (eight, seventy)]
        assert [small, large] == months
    assert len(rows) == 8
    assert f"about {eight.usd_per_month(10 / 12):.0f} USD a month for an 8B" in PAY_PER_USE


def test_the_limits_of_imports_are_those_that_are_checked() -> None:
    table = PAY_PER_USE.partition("## What can be imported")[2].partition("\n\n|")[2].partition("\n\n")[0]
    facts = import_facts()
    for values in (facts.regions.value, facts.architectures.value, facts.dtypes.value):
        assert f"| {', '.join(f'`{value}`' for value in values)} |" in table
    for said in (
        f"less than {facts.max_gigabytes.value:g} GB",
        f"at most {facts.max_context.value:,} tokens",
        f"{facts.quota.value.default} models an account",
        f"“{facts.quota.value.name}” ({facts.quota.value.code})",
    ):
        assert said in table
    sizes = {size: support(f"meta-textgeneration-llama-3-1-{size}").gigabytes for size in ("8b", "70b", "405b-fp8")}
    assert [f"{size:.0f} GB" for size in sizes.values()] == re.findall(r"(\d+ GB)(?=[,;]| \|$)", table, re.MULTILINE)


def test_the_costs_in_the_guide_are_those_of_a_plan() -> None:
    text = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(meta-\S+)` \| `(ml\.\S+)` \| (\S+) h \| (\S+) USD \|$", text, re.MULTILINE)
    facts = ModelFacts.kept(FACTS)
    for model_id, instance_type, hours, usd in rows:
        defaults = {each.name: str(each.default) for each in facts.documents.spec(model_id).hyperparameters}
        hyperparameters = {**defaults, "epoch": "1"}
        price = fallback_price(instance_type, "training")
        predicted = estimate(CATALOGUE[model_id], instance_type, 1_000_000, "a round number", hyperparameters, price)
        assert (hours, usd) == (f"{(predicted.seconds or 0) / 3600:.1f}", f"{predicted.usd:.2f}")
    assert len(rows) == 4
