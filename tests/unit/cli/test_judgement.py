"""`check`, `plan` and `submit` say the same about the same data."""

import json
from pathlib import Path

import pytest

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.formats import is_data
from finetuning.errors import FineTuningError
from finetuning_cli.preflight.data import LocalData, check_data
from finetuning_cli.preflight.documents import FACTS
from finetuning_cli.preflight.models import ModelFacts
from finetuning_cli.preflight.planning import Circumstances, plan_run, unlimited_stage
from tests.builders.datasets import any_chat_rows, any_file
from tests.builders.jumpstart import LLAMA
from tests.shared import SHARED

PROJECT = Path(__file__).resolve().parents[3]
UPLOADS = [
    *sorted((PROJECT / "tests" / "data" / "misread").iterdir()),
    *sorted({path.parent for path in (PROJECT / "examples").glob("*/*") if is_data(path.name)}),
    *sorted((SHARED / "data" / "samples").glob("[!R]*")),
]
ACCEPTED = {"accept_eula": True}


def judged_by_check(data: LocalData) -> DatasetReport | None:
    """None for an upload that is refused before its data is read."""
    try:
        return check_data(data, data.request(), lambda count: None)
    except FineTuningError:
        return None


@pytest.mark.parametrize("path", UPLOADS, ids=lambda path: path.name)
def test_plan_and_check_agree(path: Path) -> None:
    data = LocalData.read([path]).with_options(ACCEPTED)
    checked = judged_by_check(data)
    planned = plan_run(data, Circumstances(ModelFacts.kept(FACTS), unlimited_stage("us-east-1")), name="sample")
    assert planned.can_start == (checked is not None and checked.ok), planned.checklist.findings
    if checked and planned.report:
        assert planned.report == checked
    if planned.plan and planned.can_start:
        assert checked
        assert planned.plan.task == checked.task
        assert planned.plan.training.estimate.tokens == checked.statistics.trained_tokens


@pytest.mark.parametrize("length", [None, 200, -1, "many"])
@pytest.mark.parametrize(("model", "longest"), [("8b", 2000), ("405b-fp8", 8000)])
def test_plan_and_check_cut_rows_at_the_same_length(tmp_path: Path, model: str, longest: int, length: object) -> None:
    asked = ACCEPTED | {"model": LLAMA + model}
    if length is not None:
        asked["hyperparameters"] = {"max_input_length": length}
    (tmp_path / "run.json").write_text(json.dumps(asked))
    any_file(tmp_path, any_chat_rows(30))
    data = LocalData.read([tmp_path])
    planned = plan_run(data, Circumstances(ModelFacts.kept(FACTS), unlimited_stage("us-east-1")), name="sample")
    checked = check_data(data, data.request(), lambda count: None)
    assert planned.report
    assert planned.report.statistics.max_input_length == checked.statistics.max_input_length
    assert checked.statistics.max_input_length == (200 if length == 200 else longest)
