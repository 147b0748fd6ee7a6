"""RegisterModel: a version in the registry, once."""

from finetuning.handlers import register_model
from finetuning.runs.plan import DatasetSummary
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.memory import MemoryStore, any_run
from tests.builders.runs import RUN_ID, any_evaluation, any_status

ARN = "arn:aws:sagemaker:us-east-1:123456789012:model-package/finetune-dev-llama/7"
DATASET = DatasetSummary(train_rows=9, validation_rows=1, train_tokens=90, sha256={"data.jsonl": "a" * 64})


def test_the_version_says_what_it_was_trained_on_and_how_it_answered(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, dataset=DATASET.model_dump())
    memory.save(run.layout.status, any_status())
    memory.save(run.layout.evaluation, any_evaluation())
    cloud.sagemaker.answers["create_model_package"] = {"ModelPackageArn": ARN}
    result = invoke(register_model, run_id=RUN_ID)
    (package,) = cloud.sagemaker.requests("create_model_package")
    written = str(package)
    assert package["CustomerMetadataProperties"]["verdict"] == "helped"
    assert any_status().training_job in written
    assert package["CustomerMetadataProperties"]["sha256:data.jsonl"] == "a" * 64
    assert "0.533" in written
    assert run.status.model_package == ARN
    assert result["message"] == "Registered as version 7 of finetune-dev-llama"


def test_a_group_that_is_there_is_used(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    run.record("The training job completed", training_job="the-job")
    cloud.sagemaker.refuse("create_model_package_group", "ValidationException", "Model Package Group already exists.")
    cloud.sagemaker.answers["create_model_package"] = {"ModelPackageArn": ARN}
    invoke(register_model, run_id=RUN_ID)
    assert run.status.model_package == ARN


def test_a_model_that_is_deployed_again_keeps_its_version(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    memory.save(run.layout.status, any_status(model_package=ARN))
    invoke(register_model, run_id=RUN_ID)
    assert not cloud.sagemaker.calls
