"""A deployed stage in moto's AWS, for tests of the preflight and of the steps that stream data."""

import json
from typing import Any

import boto3

from finetuning.handlers import finish_dataset, plan_run, plan_shards, prepare_shard, reframe_parquet
from finetuning.jumpstart.assumptions import Price, fallback_price
from finetuning.jumpstart.spec import cache_bucket, private_bucket
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import RunStatus
from finetuning.runs.uploads import Upload
from tests.builders.handlers import invoke
from tests.builders.jumpstart import FACTS, LLAMA, any_spec

REGION = "us-east-1"
UPLOADS, ARTIFACTS = "uploads", "artifacts"
CHAT = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ahoy"}]}\n' * 20
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:m:first"


def trust_in(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Stage:
    """A deployed stage: its buckets, key and role, and JumpStart's buckets beside them."""

    def __init__(self) -> None:
        self.s3 = boto3.client("s3", region_name=REGION)
        for bucket in (UPLOADS, ARTIFACTS, cache_bucket(REGION), private_bucket(REGION)):
            self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_versioning(Bucket=UPLOADS, VersioningConfiguration={"Status": "Enabled"})
        for path in FACTS.rglob("*.json"):
            self.s3.put_object(Bucket=cache_bucket(REGION), Key=str(path.relative_to(FACTS)), Body=path.read_bytes())
        spec = any_spec(LLAMA + "8b-instruct")
        self.s3.put_object(Bucket=cache_bucket(REGION), Key=spec.code_key, Body=b"script")
        for instance_type in spec.supported_training_instance_types:
            self.s3.put_object(Bucket=private_bucket(REGION), Key=spec.gated_key(instance_type), Body=b"weights")
        self.key = boto3.client("kms", region_name=REGION).create_key()["KeyMetadata"]["Arn"]
        self.role = "arn:aws:iam::123456789012:role/execution"
        boto3.client("iam").create_role(
            RoleName="execution", AssumeRolePolicyDocument=trust_in("sagemaker.amazonaws.com")
        )

    def upload(self, key: str, body: bytes) -> str:
        return str(self.s3.put_object(Bucket=UPLOADS, Key=key, Body=body)["VersionId"])

    def upload_run(self, run_json: dict[str, Any], **files: bytes) -> dict[str, str]:
        """Uploads a folder; returns the event its run.json starts the run with."""
        for name, body in (files or {"data.jsonl": CHAT}).items():
            self.upload(f"runs/demo/{name}", body)
        key = "runs/demo/run.json"
        return self.event(key, self.upload(key, json.dumps(run_json).encode()))

    def event(self, key: str, version_id: str) -> dict[str, str]:
        return {"bucket": UPLOADS, "key": key, "version_id": version_id, "execution_arn": EXECUTION}

    def written(self, event: dict[str, str], name: str) -> bytes:
        layout = RunLayout(Upload(event["bucket"], event["key"], event["version_id"]).run_id)
        return bytes(self.s3.get_object(Bucket=ARTIFACTS, Key=layout.root + name)["Body"].read())

    def status(self, event: dict[str, str]) -> RunStatus:
        return RunStatus.model_validate_json(self.written(event, "status.json"))


class DatedPrices:
    """moto has no Price List API; the dated table is what a function without a way to it falls back on."""

    def price(self, instance_type: str, use: Any) -> Price | None:
        return fallback_price(instance_type, use)


class SilentQuotas:
    """moto has no ListServiceQuotas either; their own test has them from stubbed answers."""

    def __init__(self, *clients: Any) -> None: ...

    def check(self, *asked: Any, **standing: Any) -> str:
        return "Service Quotas did not answer"

    def lambda_concurrency(self) -> int:
        return 25

    def of_service(self, service: str) -> dict[str, Any]:
        return {}


def run_steps(made: Stage, request: dict[str, Any] | None = None, **files: bytes) -> tuple[RunLayout, dict[str, Any]]:
    """From PlanRun to FinishDataset as the state machine does; the run's layout and the last result."""
    planned = invoke(plan_run, made.upload_run({"accept_eula": True, **(request or {})}, **files))
    run_id = planned["run_id"]
    if planned["parquet"]:
        invoke(reframe_parquet, run_id=run_id)
    for shard in invoke(plan_shards, run_id=run_id)["shards"]:
        invoke(prepare_shard, run_id=run_id, shard=shard)
    return RunLayout(run_id), invoke(finish_dataset, run_id=run_id)


def objects(made: Stage, prefix: str) -> dict[str, bytes]:
    """The artifacts below the prefix, by what follows it in their keys."""
    found = made.s3.list_objects_v2(Bucket=ARTIFACTS, Prefix=prefix).get("Contents", [])
    return {
        item["Key"].removeprefix(prefix): made.s3.get_object(Bucket=ARTIFACTS, Key=item["Key"])["Body"].read()
        for item in found
    }
