"""run.json of the examples as a rehearsal uploads them."""

import json
from pathlib import Path

import pytest

from finetuning.jumpstart.family import Task
from finetuning.jumpstart.hyperparameters import merge
from finetuning.runs.run_json import read_request
from rehearsal.example_settings import HYPERPARAMETERS, rehearsed_run_json
from tests.builders.jumpstart import any_spec

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.mark.parametrize("example", HYPERPARAMETERS)
def test_a_rehearsed_example_is_valid_and_differs_in_hyperparameters_and_licence_alone(example: str) -> None:
    published = json.loads((EXAMPLES / example / "run.json").read_text())
    rehearsed = json.loads(rehearsed_run_json(EXAMPLES / example))
    assert {name for name in rehearsed if rehearsed[name] != published[name]} == {"accept_eula", "hyperparameters"}
    request, findings = read_request(json.dumps(rehearsed).encode())
    assert findings == []
    spec = any_spec(request.model or "")
    _, findings = merge(spec, spec.default_training_instance_type, Task(example), request.hyperparameters)
    assert findings == []


def test_the_endpoint_of_an_update_has_a_name() -> None:
    assert json.loads(rehearsed_run_json(EXAMPLES / "chat", "rehearsal"))["endpoint"] == {"name": "rehearsal"}
