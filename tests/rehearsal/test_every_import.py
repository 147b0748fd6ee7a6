"""Each model that Bedrock takes × each task: trained, imported, asked and kept under its name."""

import json
from collections.abc import Iterator
from itertools import product as combinations
from typing import Any

import pytest

from finetuning.jumpstart.family import Task
from finetuning.runs.layout import RunLayout
from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name

MODELS = [f"meta-textgeneration-llama-3-1-{size}{kind}" for size in ("8b", "70b") for kind in ("", "-instruct")]
ROWS = 24
FILES = {
    Task.CHAT: ("chats.jsonl", b"".join(any_chats(ROWS))),
    Task.INSTRUCTION: (
        "rows.jsonl",
        b"".join(
            json.dumps({"instruction": f"Say {n}.", "context": "", "response": f"{n}, aye."}).encode() + b"\n"
            for n in range(ROWS)
        ),
    ),
    Task.DOMAIN_ADAPTATION: (
        "log.txt",
        "\n".join(f"On day {n} the Marigold sailed {n} miles." for n in range(ROWS)).encode(),
    ),
}
SETTINGS = {
    "hyperparameters": {"epoch": 1, "max_input_length": 512},
    "endpoint": {"deploy": True, "target": "bedrock"},
    "evaluation": {"prompts": 2},
}


@pytest.fixture(scope="module")
def ended(product: Product) -> Iterator[dict[tuple[str, Task], dict[str, Any]]]:
    """By model and task, status.json of its run. The runs of a task go on side by side: a quota allows two jobs on the
    instances that 70B takes. The imported models are deleted afterwards.
    """
    statuses: dict[tuple[str, Task], dict[str, Any]] = {}
    for task, (file, data) in FILES.items():
        runs = {}
        for model in MODELS:
            name = any_name("imported")
            runs[model] = product.submit(data, file, name=name, model=model, task=str(task), **SETTINGS)
        statuses |= {(model, task): product.ended(run_id) for model, run_id in runs.items()}
    yield statuses
    for status in statuses.values():
        if arn := status["imported_model"]:
            product.emulator.client("bedrock").delete_imported_model(modelIdentifier=arn)


@pytest.mark.parametrize(("model", "task"), combinations(MODELS, FILES))
def test_a_run_ends_on_an_imported_model_that_answered(
    product: Product, ended: dict[tuple[str, Task], dict[str, Any]], model: str, task: Task
) -> None:
    status = ended[model, task]
    assert status["state"] == "succeeded", status["error"]
    imported = product.emulator.client("bedrock").get_imported_model(modelIdentifier=status["imported_model"])
    assert imported["modelArchitecture"] == "LlamaForCausalLM"
    evaluation = document(product, RunLayout(status["run_id"]).evaluation)
    assert len(evaluation["rows"]) == 2
    assert all(row["tuned"]["text"] for row in evaluation["rows"])
    assert not product.emulator.client("sagemaker").list_endpoints(NameContains=status["run_id"])["Endpoints"]


def document(product: Product, key: str) -> dict[str, Any]:
    body = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=key)["Body"].read()
    found: dict[str, Any] = json.loads(body)
    return found
