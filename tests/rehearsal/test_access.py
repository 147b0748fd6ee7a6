"""The managed policies of the stack, each attached to a role with which a person types the commands."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from finetuning.errors import Code
from tests.rehearsal.support.product import SETTINGS, Product, any_chats
from tests.rehearsal.support.stacks import any_person
from tests.rehearsal.support.terminal import Said, Terminal

STACK = "finetune-dev-workflow"


@dataclass(frozen=True)
class Team:
    """A terminal for a person with each policy, in a folder with data to submit."""

    viewer: Terminal
    data_scientist: Terminal
    operator: Terminal


@pytest.fixture(scope="module")
def team(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Team:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "parrots").mkdir()
    (folder / "parrots" / "chats.jsonl").write_bytes(b"".join(any_chats(16)))
    (folder / "parrots" / "run.json").write_text(json.dumps(SETTINGS))
    described = product.emulator.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}

    def person(policy: str) -> Terminal:
        role = any_person(product.emulator, outputs[f"{policy}PolicyArn"])
        return Terminal(product.emulator, folder, role=role)

    return Team(person("Viewer"), person("DataScientist"), person("Operator"))


@pytest.fixture(scope="module")
def served(product: Product) -> str:
    """A run whose endpoint serves."""
    run_id = product.submit(b"".join(any_chats()), endpoint={"deploy": True})
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]
    return run_id


@pytest.fixture(scope="module")
def waiting(product: Product) -> str:
    """A run that waits for its approval."""
    run_id = product.submit(b"".join(any_chats()), endpoint={"deploy": True}, approval=True)
    product.until(run_id, lambda status: status.get("step") == "ApproveDeployment")
    return run_id


def refused(said: Said) -> bool:
    """By IAM."""
    return said.code == 1 and Code.ACCESS_DENIED in said.printed


def allowed(said: Said) -> bool:
    return Code.ACCESS_DENIED not in said.printed and said.code == 0


def test_a_viewer_sees_everything_and_changes_nothing(team: Team, served: str, waiting: str, tmp_path: Path) -> None:
    for words in (
        ("runs",), ("endpoints",), ("watch", served), ("report", served, "--json"), ("logs", served),
        ("download", served, str(tmp_path)),
    ):  # fmt: skip
        said = team.viewer.finetune(*words)
        assert allowed(said), said.printed
    for words in (
        ("submit", "parrots", "--no-check"), ("stop", waiting), ("deploy", served), ("ask", served, "Aye?"),
        ("extend", served, "--hours", "1"), ("approve", waiting), ("reject", waiting), ("clean-up", served, "--yes"),
    ):  # fmt: skip
        said = team.viewer.finetune(*words)
        assert refused(said), said.printed


def test_a_data_scientist_submits_asks_and_stops_but_decides_and_deletes_nothing(
    product: Product, team: Team, served: str, waiting: str
) -> None:
    said = team.data_scientist.finetune("submit", "parrots")
    assert allowed(said), said.printed
    for words in (("ask", served, "Aye?"), ("extend", served, "--hours", "2")):
        said = team.data_scientist.finetune(*words)
        assert allowed(said), said.printed
    for words in (("approve", waiting), ("reject", waiting), ("clean-up", served, "--yes")):
        said = team.data_scientist.finetune(*words)
        assert refused(said), said.printed
    assert product.status(waiting)["step"] == "ApproveDeployment"


def test_an_operator_approves_and_deletes(product: Product, team: Team, served: str, waiting: str) -> None:
    said = team.operator.finetune("approve", waiting)
    assert allowed(said), said.printed
    assert product.ended(waiting)["state"] == "succeeded"
    said = team.operator.finetune("clean-up", served, "--yes")
    assert allowed(said), said.printed
    names = [each["EndpointName"] for each in product.emulator.client("sagemaker").list_endpoints()["Endpoints"]]
    assert f"finetune-dev-{served}" not in names
