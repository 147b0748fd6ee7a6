"""The import request, whole, beside the one that the SageMaker SDK sends for the same choices.

sdk_import_job.json was captured from `BedrockModelBuilder.deploy` of sagemaker-serve 1.20.0 (aws/sagemaker-python-sdk,
commit a2481266), given the model's S3 prefix, with recording clients in place of AWS. The SDK that this project
installs, sagemaker-core, does not have it.
"""

import json
from pathlib import Path

import pytest

from finetuning.bedrock.requests import ImportJob, import_job
from finetuning.jumpstart.constraints import violations
from finetuning.jumpstart.family import Task
from finetuning.planning import orders
from finetuning.planning.checklist import Checklist
from tests.builders.jumpstart import LLAMA, WITH_IMPORTS, any_spec, any_stage, planned, service_model

CAPTURED = json.loads(Path(__file__).with_name("sdk_import_job.json").read_text())
MODEL_SOURCE = "sagemaker.amazonaws.com/model-source"
"""The tag that the SDK adds, by which it finds a model to use again. The run's own tag says where a model is from."""


def test_the_import_request_is_the_sdks() -> None:
    expected = {**CAPTURED}
    for name in ("jobTags", "importedModelTags"):
        expected[name] = [tag for tag in CAPTURED[name] if tag["key"] != MODEL_SOURCE]
        assert len(CAPTURED[name]) - len(expected[name]) == 1
    job = ImportJob(
        name=CAPTURED["jobName"],
        model=CAPTURED["importedModelName"],
        artifact=CAPTURED["modelDataSource"]["s3DataSource"]["s3Uri"] + "/",
        tags={"team": "search"},
    )
    assert import_job(job, WITH_IMPORTS) == expected


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("size", ["8b", "8b-instruct", "70b", "70b-instruct"])
def test_8b_and_70b_of_every_task_are_imported_by_a_valid_request(size: str, task: Task) -> None:
    asked = {"model": LLAMA + size, "accept_eula": True, "task": task, "endpoint": {"target": "bedrock", "name": "faq"}}
    plan, findings = planned(asked, stage=any_stage(bedrock_import=True))
    assert findings == []
    checklist = Checklist()
    built = orders.run_requests(any_spec(LLAMA + size), plan, WITH_IMPORTS)
    orders.check_requests(built, service_model, checklist)
    assert checklist.findings == []
    request = built["create_model_import_job"]
    assert list(built) == ["create_training_job", "create_model_import_job"]
    written = built["create_training_job"]["OutputDataConfig"]["S3OutputPath"]
    assert request["modelDataSource"]["s3DataSource"]["s3Uri"] == f"{written}/{request['jobName']}/output/model"
    tags = {tag["key"]: tag["value"] for tag in request["importedModelTags"]}
    assert tags["finetune:run-id"] == plan.run_id
    assert (tags["finetune:endpoint"], tags["finetune:owners"]) == ("finetune-dev-faq", "demo")
    assert (tags["finetune:ttl-hours"], tags["finetune:idle-minutes"]) == ("8", "never")


def test_a_request_that_bedrock_would_refuse_is_a_finding_that_names_it() -> None:
    checklist = Checklist()
    request = {**CAPTURED, "importedModelName": "two--hyphens"}
    orders.check_requests({"create_model_import_job": request}, service_model, checklist)
    (found,) = checklist.findings
    assert found.message.startswith("Bedrock would reject the request: CreateModelImportJob: importedModelName: ")


def test_the_captured_request_is_valid() -> None:
    shape = service_model("bedrock").operation_model("CreateModelImportJob").input_shape
    assert list(violations(shape, CAPTURED)) == []
