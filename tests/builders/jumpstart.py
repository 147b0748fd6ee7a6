"""Builders for tests of JumpStart's facts, the requests made of them, and plans."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session

from finetuning.datasets.detection import detect
from finetuning.errors import Finding
from finetuning.jumpstart.assumptions import fallback_price
from finetuning.jumpstart.spec import ModelSpec, newest, read_manifest, read_spec
from finetuning.jumpstart.target import Target
from finetuning.planning.checklist import Checklist
from finetuning.planning.planner import make_plan
from finetuning.planning.submission import Submission, look_up_prices, settle_model
from finetuning.runs.plan import DataFile, RunPlan
from finetuning.runs.run_json import read_request
from finetuning.runs.uploads import Upload
from finetuning.settings import DeployedStage

FACTS = Path(__file__).resolve().parents[2] / "cli" / "finetuning_cli" / "facts" / "jumpstart"
LLAMA = "meta-textgeneration-llama-3-1-"
BASE_70B = LLAMA + "70b"
NOW = datetime(2026, 11, 23, 18, 10, 26, tzinfo=UTC)
TARGET = Target(
    prefix="finetune-dev",
    stage="dev",
    region="us-east-1",
    bucket="my-bucket",
    role_arn="arn:aws:iam::111122223333:role/SageMakerExec",
    subnets=("subnet-1",),
    security_groups=("sg-1",),
    kms_key_arn="arn:aws:kms:us-east-1:111122223333:key/abc",
)
WITH_IMPORTS = replace(
    TARGET,
    kms_key_arn="arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    import_role_arn="arn:aws:iam::111122223333:role/BedrockImport",
)
"""A stage that may import models into Bedrock, with the id of a key as Bedrock's service model wants it."""


@cache
def document(model_id: str) -> dict[str, Any]:
    """The kept document of a model; do not change it, `changed` makes a copy."""
    entry = newest(read_manifest((FACTS / "models_manifest.json").read_bytes()), model_id)
    assert entry is not None
    loaded: dict[str, Any] = json.loads((FACTS / entry.spec_key).read_bytes())
    return loaded


def any_spec(model_id: str = BASE_70B, change: Callable[[dict[str, Any]], Any] = lambda document: None) -> ModelSpec:
    """The model's facts, after `change` was made to a copy of its document."""
    copied = copy.deepcopy(document(model_id))
    change(copied)
    return read_spec(copied, model_id)


def any_stage(**changes: Any) -> DeployedStage:
    stage: dict[str, Any] = {
        "stage": "dev",
        "aws_region": "us-east-1",
        "training_instance_types": ("*",),
        "endpoint_ttl_hours": 8,
        "endpoint_idle_minutes": 60,
    }
    return DeployedStage(**stage | changes)


def planned(
    run_json: dict[str, Any] | bytes,
    *,
    stage: DeployedStage | None = None,
    size: int = 100_000,
    head: bytes | None = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}\n',
    name: str = "data.jsonl",
    template_file: bytes | None = None,
    change: Callable[[dict[str, Any]], Any] = lambda document: None,
) -> tuple[RunPlan, list[Finding]]:
    """What the planner makes of a run.json beside one data file, or beside none, and what it finds wrong."""
    body = run_json if isinstance(run_json, bytes) else json.dumps(run_json).encode()
    checklist, stage = Checklist(), stage or any_stage()
    request, findings = read_request(body)
    checklist.found("run.json", *findings)
    spec = settle_model(request, stage, lambda model_id, version: any_spec(model_id, change), checklist)
    assert spec is not None
    files: tuple[DataFile, ...] = ()
    if head is not None:
        detection = detect(head, name, max(size, len(head)))
        files = (DataFile(key=f"runs/demo/{name}", version_id="v1", size=size, etag="e", detection=detection),)
    upload = Upload("upload-bucket", "runs/demo/run.json", "v1", "123456789012", "N4N7GDK58NMKJ12R")
    plan = make_plan(
        Submission(upload, request, NOW, files, template_file),
        spec,
        stage,
        look_up_prices(request, spec, fallback_price),
        checklist,
    )
    return plan, checklist.findings


@cache
def service_model(service: str) -> Any:
    """boto3's model of a service."""
    return botocore.session.get_session().get_service_model(service)


def sagemaker_model() -> Any:
    return service_model("sagemaker")
