"""An account with what a training job and an endpoint need: data, gated weights, a role, a network."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from finetuning.jumpstart.target import VARIANT
from finetuning.runs.tags import RUN_TAG
from rehearsal.jumpstart_cache import PRIVATE_BUCKET
from rehearsal.running import Emulator
from tests.rehearsal.support.stacks import allow, any_name, any_role

GATED_KEY = "meta-training/g5/v1.0.0/weights.tar.gz"
BASE_PREFIX = "meta-textgeneration/artifacts/inference-prepack/v1.0.0/"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-training:2.0.0-transformers4.28.1-gpu-py310"
CHATS = [
    {"dialog": [{"role": "user", "content": f"Count to {n}."}, {"role": "assistant", "content": f"Aye! {n}."}]}
    for n in range(6)
]


@dataclass(frozen=True)
class Account:
    """Names of what is there; `api` and `runtime` are plain boto3 clients."""

    emulator: Emulator
    bucket: str
    role_arn: str
    vpc: dict[str, list[str]]

    @property
    def api(self) -> Any:
        return self.emulator.client("sagemaker")

    @property
    def runtime(self) -> Any:
        return self.emulator.client("sagemaker-runtime")


def any_account(emulator: Emulator) -> Account:
    s3, ec2 = emulator.client("s3"), emulator.client("ec2")
    bucket = any_name("bucket")
    for name in (bucket, PRIVATE_BUCKET):
        s3.create_bucket(Bucket=name)
    for key in (GATED_KEY, f"{BASE_PREFIX}config.json"):
        s3.put_object(Bucket=PRIVATE_BUCKET, Key=key, Body=b"placeholder")
    chats = "".join(json.dumps(chat) + "\n" for chat in CHATS)
    for channel in ("train", "validation"):
        s3.put_object(Bucket=bucket, Key=f"{channel}/chats.jsonl", Body=chats.encode())
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(VpcId=vpc, GroupName=any_name("group"), Description="jobs")["GroupId"]
    buckets = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    role = any_role(emulator, "sagemaker.amazonaws.com", allow("s3:*", buckets))
    return Account(emulator, bucket, role, {"Subnets": [subnet], "SecurityGroupIds": [group]})


def any_training_job(account: Account, **changes: Any) -> dict[str, Any]:
    """A request that is accepted: two epochs of six short chats."""
    metric = {"Name": "huggingface-textgeneration:eval-loss", "Regex": r"eval_epoch_loss=tensor\(([0-9\.]+)"}
    request = {
        "TrainingJobName": any_name("job"),
        "RoleArn": account.role_arn,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File", "MetricDefinitions": [metric]},
        "HyperParameters": {
            "chat_dataset": "True", "instruction_tuned": "False", "epoch": "2", "learning_rate": "0.001",
            "per_device_train_batch_size": "2", "max_input_length": "128", "lora_r": "4", "lora_alpha": "8",
        },
        "Environment": {"accept_eula": "true", "SageMakerGatedModelS3Uri": f"s3://{PRIVATE_BUCKET}/{GATED_KEY}"},
        "InputDataConfig": [channel("training", f"s3://{account.bucket}/train/")],
        "OutputDataConfig": {"S3OutputPath": f"s3://{account.bucket}/output", "CompressionType": "NONE"},
        "ResourceConfig": {"InstanceType": "ml.g5.12xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "VpcConfig": account.vpc,
        "EnableNetworkIsolation": True,
        "Tags": [{"Key": RUN_TAG, "Value": "canary"}],
    }  # fmt: skip
    return request | changes


def channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def any_model(account: Account, uri: str, **source: Any) -> dict[str, Any]:
    data = {"S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None", **source}
    return {
        "ModelName": any_name("model"),
        "ExecutionRoleArn": account.role_arn,
        "PrimaryContainer": {"Image": IMAGE, "ModelDataSource": {"S3DataSource": data}},
        "EnableNetworkIsolation": True,
        "VpcConfig": account.vpc,
    }


def deploy_model(account: Account, model: dict[str, Any]) -> str:
    """Model, configuration and endpoint of one name, which is returned; waits for none of it."""
    name = str(account.api.create_model(**model) and model["ModelName"])
    configure(account, name)
    account.api.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return name


def configure(account: Account, model: str, name: str = "", **changes: Any) -> str:
    variant = {
        "VariantName": VARIANT,
        "ModelName": model,
        "InstanceType": "ml.g5.2xlarge",
        "InitialInstanceCount": 1,
    }
    account.api.create_endpoint_config(EndpointConfigName=name or model, ProductionVariants=[variant | changes])
    return name or model


def end_everything(emulator: Emulator, seconds: float = 60) -> None:
    """Ends every training job, endpoint and imported model, those still being made as soon as that is possible."""
    api, deadline = emulator.client("sagemaker"), time.monotonic() + seconds
    while left := emulator.costing():
        assert time.monotonic() < deadline, left
        for thing in left:
            with suppress(ClientError):  # it comes up, or is ending already
                if thing["kind"] == "endpoint":
                    api.delete_endpoint(EndpointName=thing["name"])
                elif thing["kind"] == "imported model":
                    emulator.client("bedrock").delete_imported_model(modelIdentifier=thing["arn"])
                else:
                    api.stop_training_job(TrainingJobName=thing["name"])
        time.sleep(0.1)


def until(describe: Callable[[], dict[str, Any]], member: str, *values: str, seconds: float = 90) -> dict[str, Any]:
    """The description once its member has one of these values."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        description = describe()
        if description[member] in values:
            return description
        time.sleep(0.1)
    raise AssertionError(f"{member} is still {description[member]}: {description}")
