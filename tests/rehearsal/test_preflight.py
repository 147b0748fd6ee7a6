"""The preflight in the deployed product: what is refused starts nothing, what is planned is asked for to the letter."""

import json

from finetuning.jumpstart.target import Target
from finetuning.planning.orders import training_job
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.runs.waiting import pending_seconds
from tests.builders.jumpstart import LLAMA, any_spec
from tests.rehearsal.support.product import Product, any_chats

CHATS = b"".join(any_chats())


def test_five_faults_are_reported_together_and_no_job_starts(product: Product) -> None:
    run_id = product.submit(
        CHATS,
        accept_eula=False,
        modle="x",
        hyperparameters={"epoch": 0, "learning_rates": 0.1},
        training={"instance_type": "ml.p4d.24xlarge"},
    )
    status = product.ended(run_id)
    assert [finding["field"] for finding in status["error"]["findings"]] == [
        "modle",
        "accept_eula",
        "training.instance_type",
        "hyperparameters.epoch",
        "hyperparameters.learning_rates",
    ]
    assert status["state"] == "failed"
    assert "StartTraining" not in product.states_of(run_id)
    assert product.jobs_of(run_id) == {}


def test_a_run_over_budget_is_refused_with_the_numbers(product: Product) -> None:
    # No other test trains this model: a measured training of seconds would be within any budget.
    run_id = product.submit(CHATS, model=LLAMA + "405b-fp8", training={"max_cost_usd": 0.5})
    status = product.ended(run_id)
    (finding,) = status["error"]["findings"]
    assert finding["code"] == "OVER_BUDGET"
    assert "0.50 USD" in finding["message"]
    assert "63.30 USD per hour (Price List API" in finding["message"]
    assert product.jobs_of(run_id) == {}


def test_quotas_and_permissions_are_looked_at_and_none_is_missing(product: Product) -> None:
    status = product.ended(product.submit(CHATS, accept_eula=False))
    unchecked = [check for check in status["checks"] if check["ok"] is None and not check["fix"]]
    assert unchecked == []
    assert {"quota", "artefacts", "names", "key", "role"} <= {check["check"] for check in status["checks"]}


def test_a_405b_chat_run_asks_sagemaker_for_exactly_what_the_plan_says(product: Product) -> None:
    model_id = LLAMA + "405b-instruct-fp8"
    run_id = product.submit(CHATS, model=model_id)
    assert product.ended(run_id)["state"] == "succeeded"
    s3, sagemaker = product.emulator.client("s3"), product.emulator.client("sagemaker")
    body = s3.get_object(Bucket=product.artifacts, Key=RunLayout(run_id).plan)["Body"].read()
    plan = RunPlan.model_validate_json(body)
    job = sagemaker.describe_training_job(TrainingJobName=plan.names("finetune-dev").training_job(0))
    here = Target(
        prefix="finetune-dev",
        stage="dev",
        region="us-east-1",
        bucket=product.artifacts,
        role_arn=job["RoleArn"],
        subnets=tuple(job["VpcConfig"]["Subnets"]),
        security_groups=tuple(job["VpcConfig"]["SecurityGroupIds"]),
        kms_key_arn=job["OutputDataConfig"]["KmsKeyId"],
    )
    expected = training_job(any_spec(model_id), plan, here, pending_seconds=pending_seconds(plan.training, 0))
    tags = {tag["Key"]: tag["Value"] for tag in expected.pop("Tags")}
    assert {name: job[name] for name in expected} == expected, json.dumps(job, default=str)
    assert (plan.model_id, plan.training.instance_types) == (model_id, ["ml.p5.48xlarge"])
    given = sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert tags.items() <= {tag["Key"]: tag["Value"] for tag in given}.items()
