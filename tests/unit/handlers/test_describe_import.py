"""DescribeImport: what an import job's state means for the run."""

from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.handlers import describe_import
from finetuning.operations.run import Run
from finetuning.runs.imports import LONGEST_IMPORT
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.imports import imported_run
from tests.builders.memory import PREFIX, MemoryStore
from tests.builders.runs import RUN_ID

NAME = f"{PREFIX}-{RUN_ID}"


@pytest.fixture
def run(memory: MemoryStore) -> Run:
    return imported_run(memory)


def described() -> dict[str, Any]:
    return dict(invoke(describe_import, run_id=RUN_ID, variant="live"))


def test_an_import_in_progress_is_waited_for_longer_and_longer(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_job(NAME, hours_old=1)
    answer = described()
    assert (answer["outcome"], answer["wait_seconds"]) == ("in_progress", 181)
    assert run.status.events[-1].message == f"Import {NAME}: InProgress"


def test_an_imported_model_is_recorded_with_what_bedrock_says_of_it(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_job(NAME)
    cloud.bedrock.end(NAME)
    assert described()["outcome"] == "in_service"
    (arn,) = cloud.bedrock.models
    assert run.status.imported_model == arn
    assert run.status.events[-1].message == (
        f"Imported {NAME}: LlamaForCausalLM, 2 custom model units a copy; Bedrock knows its chat template"
    )


@pytest.mark.parametrize(
    ("planned", "said"),
    [(2, ""), (8, " (not as planned: it costs 0.57 USD for each 5 minutes of use, 3.90 USD a month stored)")],
)
def test_the_price_follows_the_units_that_bedrock_says(
    cloud: FakeAws, memory: MemoryStore, planned: int, said: str
) -> None:
    price = {"units": planned, "usd_per_unit_minute": 0.05718, "usd_per_unit_month": 1.95}
    run = imported_run(memory, import_price=price)
    cloud.bedrock.add_job(NAME)
    cloud.bedrock.end(NAME)
    described()
    assert f"2 custom model units a copy{said}; Bedrock" in run.status.events[-1].message
    kept = RunPlan.model_validate_json(memory.objects[RunLayout(RUN_ID).plan]).endpoint.import_price
    assert kept is not None
    assert kept.units == 2


def test_the_newest_job_counts(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_job(NAME, hours_old=3, status="Failed", failureMessage="no")
    cloud.bedrock.add_job(f"{NAME}-1", NAME, hours_old=0)
    assert described()["outcome"] == "in_progress"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("The model architecture FalconForCausalLM is not supported.", Code.MODEL_NOT_IMPORTABLE),
        ("Could not assume the role arn:aws:iam::123456789012:role/imports.", Code.IMPORT_ACCESS_DENIED),
        ("Access Denied while reading s3://artifacts", Code.IMPORT_ACCESS_DENIED),
        ("The quota of imported models is reached.", Code.QUOTA_EXCEEDED),
        ("Something went wrong.", Code.IMPORT_FAILED),
        ("", Code.IMPORT_FAILED),
    ],
)
def test_a_failed_import_is_explained_by_its_reason(cloud: FakeAws, run: Run, reason: str, code: Code) -> None:
    cloud.bedrock.add_job(NAME, status="Failed", failureMessage=reason)
    with pytest.raises(FineTuningError) as failure:
        described()
    assert failure.value.code == code
    assert (reason or "Bedrock gave no reason") in failure.value.message
    assert "The tuned model is kept" in failure.value.fix
    assert "finetune deploy RUN" in failure.value.fix


def test_an_import_that_takes_too_long_fails(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_job(NAME, hours_old=LONGEST_IMPORT.total_seconds() / 3600 + 0.1)
    with pytest.raises(FineTuningError, match=r"still InProgress after 6\.1 hours") as failure:
        described()
    assert failure.value.code == Code.IMPORT_OUT_OF_TIME


def test_a_job_that_does_not_show_yet_is_looked_for_again(cloud: FakeAws, run: Run) -> None:
    with pytest.raises(TransientAwsError, match="does not find the import"):
        described()


def test_a_model_that_is_not_listed_is_looked_for_again_before_it_fails_the_run(cloud: FakeAws, run: Run) -> None:
    """Its import has just ended, and the tuned model has been paid for."""
    cloud.bedrock.add_job(NAME, status="Completed")
    with pytest.raises(TransientAwsError, match=r"IMPORT_FAILED.*does not exist any more"):
        described()
