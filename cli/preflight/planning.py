"""Plans a run from its run.json, offline or with an AWS account's data. Starts nothing."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session

from cli.preflight.data import LocalData
from cli.preflight.models import ModelFacts
from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.datasets.detection import detect_file
from finetuning.datasets.options import named_columns
from finetuning.errors import Code, Finding
from finetuning.jumpstart.requests import Request, Target
from finetuning.jumpstart.spec import ModelSpec
from finetuning.operations.account_checks import AccountChecks
from finetuning.operations.preflight import account_quotas, check_version
from finetuning.planning.checklist import Checklist
from finetuning.planning.orders import OPERATIONS, check_requests, run_requests
from finetuning.planning.planner import make_plan
from finetuning.planning.submission import Submission, look_up_prices, settle_model
from finetuning.runs.layout import RUN_FILE
from finetuning.runs.plan import DataFile, RunPlan
from finetuning.runs.run_json import RunRequest, is_unreadable, read_request
from finetuning.runs.uploads import Upload
from finetuning.settings import LONGEST_RUNTIME_HOURS, DeployedStage


@dataclass(frozen=True)
class PlannedRun:
    """The result. With findings, `plan` is a draft, or None if not even that is possible."""

    stage: DeployedStage
    checklist: Checklist
    plan: RunPlan | None
    requests: dict[str, Request]
    """By operation; empty if there are findings."""

    @property
    def can_start(self) -> bool:
        return not self.checklist.findings

    def document(self) -> dict[str, Any]:
        """What `finetune plan --json` prints."""
        plan = self.plan.model_copy(update={"checks": self.checklist.checks}) if self.plan and self.can_start else None
        return {
            "ok": self.can_start,
            "findings": [asdict(finding) for finding in self.checklist.findings],
            "plan": plan.model_dump(mode="json") if plan else None,
            "requests": {name: self.requests.get(name) for name in OPERATIONS},
        }


def plan_run(run_json: Path, facts: ModelFacts, region: str) -> PlannedRun:
    """Checks a run.json, with the data beside it, as the workflow's PlanRun would.

    Raises `FineTuningError` only if AWS fails; what is wrong with the run is a finding.
    """
    checklist, here = Checklist(), _placeholders(region)
    request, findings = read_request(run_json.read_bytes())
    checklist.found("run.json", *findings)
    stage = _stage(here)
    if is_unreadable(findings):
        return PlannedRun(stage, checklist, None, {})
    spec = settle_model(request, stage, facts.documents.spec, checklist)
    planned: RunPlan | None = None
    if spec is not None:
        prices = look_up_prices(request, spec, facts.price)
        submission = _submission(run_json, request)
        planned = make_plan(submission, spec, stage, prices, checklist)
        checklist.found("data", *_without_data(run_json, submission))
        if isinstance(facts.documents, JumpStartBucket):
            check_version(facts.documents, request, spec, checklist)
            planned = _ask_account(spec, planned, here, facts.documents, checklist)
        if spec.model_id != (request.model or stage.default_model) or request.model_version not in (None, spec.version):
            checklist.unknown("model", f"the other checks assume {spec.model_id} {spec.version}")
    return PlannedRun(stage, checklist, planned, _requests(spec, planned, here, checklist))


def _placeholders(region: str) -> Target:
    """Stands in for what only a deployment knows, in the format of real ARNs and ids."""
    return Target(
        prefix="finetune-dev",
        stage="dev",
        region=region,
        bucket="finetune-dev-artifacts-placeholder",
        role_arn="arn:aws:iam::000000000000:role/placeholder-execution-role",
        subnets=("subnet-placeholder1", "subnet-placeholder2"),
        security_groups=("sg-placeholder",),
        kms_key_arn=f"arn:aws:kms:{region}:000000000000:key/placeholder",
    )


def _stage(here: Target) -> DeployedStage:
    """A stage without limits; a deployed stage may allow less, and its PlanRun reports that."""
    return DeployedStage(
        stage=here.stage,
        aws_region=here.region,
        max_runtime_hours=LONGEST_RUNTIME_HOURS,
        training_instance_types=("*",),
        endpoint_ttl_hours=8,
        endpoint_idle_minutes=60,
    )


def _submission(run_json: Path, request: RunRequest) -> Submission:
    """As if uploaded: a file named run.json with the data beside it, any other file without data."""
    folder = run_json.resolve().parent
    prefix = f"runs/{folder.name}/"
    beside = LocalData.read([folder] if run_json.name == RUN_FILE else [])
    template = beside.template.read_bytes() if beside.template else None
    named = named_columns(request.data_options, template)
    return Submission(
        upload=Upload("finetune-dev-upload-placeholder", prefix + RUN_FILE, ""),
        request=request,
        planned_at=datetime.now(UTC),
        files=tuple(
            DataFile(
                key=prefix + within,
                version_id="placeholder",
                size=path.stat().st_size,
                etag="placeholder",
                detection=detect_file(path, named),
            )
            for within, path in zip(beside.within, beside.files, strict=True)
        ),
        template_file=template,
    )


def _without_data(run_json: Path, submission: Submission) -> Iterator[Finding]:
    """What the workflow would refuse about the data beside a file named run.json."""
    folder, heads = run_json.parent, [detection for _, detection in submission.detections]
    if run_json.name == RUN_FILE and not heads:
        yield Finding(
            Code.UPLOAD_WITHOUT_DATA,
            "",
            f"There is no data file beside {run_json}.",
            "Put the data into the same folder. To plan without data, give the file another name.",
        )
    elif heads and not submission.parquet and not any(head.kinds or head.refusal for head in heads):
        yield Finding(
            Code.DATASET_REFUSED,
            "",
            "None of the first rows of the data was recognised.",
            f"See what is wrong with each row: finetune check {folder}",
        )


def _ask_account(
    spec: ModelSpec, planned: RunPlan, here: Target, jumpstart: JumpStartBucket, checklist: Checklist
) -> RunPlan:
    account = AccountChecks(spec, planned, here, checklist)
    account.artefacts(jumpstart)
    account.quotas(account_quotas(here.region))
    return account.remaining_plan()


def _requests(
    spec: ModelSpec | None, planned: RunPlan | None, here: Target, checklist: Checklist
) -> dict[str, Request]:
    """The requests of the run, checked against botocore's service model; empty if there are findings."""
    if spec is None or planned is None or checklist.findings:
        return {}
    built = run_requests(spec, planned, here)
    check_requests(built, botocore.session.get_session().get_service_model("sagemaker"), checklist)
    return {} if checklist.findings else built
