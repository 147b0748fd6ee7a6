"""The judgement of a run before it starts, which `plan` prints and `submit` acts on: run.json, the data, the stage.

It takes the workflow's steps: PlanRun, the preparation of the data, and FinishDataset with the data's size.
"""

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import botocore.session

from finetuning.aws.clients import advisory_client
from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.detection import detect_file
from finetuning.datasets.options import named_columns
from finetuning.errors import Code, Finding, RunRefused
from finetuning.jumpstart.requests import Request
from finetuning.jumpstart.spec import ModelSpec
from finetuning.jumpstart.target import Target
from finetuning.operations.account_checks import AccountChecks
from finetuning.operations.preflight import account_quotas, check_version
from finetuning.planning.checklist import Checklist
from finetuning.planning.orders import OPERATIONS, check_requests, run_requests
from finetuning.planning.planner import complete, make_plan, summary_of
from finetuning.planning.submission import Submission, look_up_prices, settle_model, training_types
from finetuning.runs.layout import RUN_FILE
from finetuning.runs.plan import DataFile, Measurement, RunPlan
from finetuning.runs.run_json import RunRequest, is_unreadable, read_request
from finetuning.runs.uploads import Upload
from finetuning.settings import LONGEST_RUNTIME_HOURS, DeployedStage
from finetuning_cli.preflight.data import LocalData, check_data
from finetuning_cli.preflight.models import ModelFacts


@dataclass(frozen=True)
class Circumstances:
    """What a run is judged by. `measured`: what the last training of a model on an instance type took, if known."""

    facts: ModelFacts
    stage: DeployedStage
    measured: Callable[[str, str], Measurement | None] = lambda model_id, instance_type: None


@dataclass(frozen=True)
class PlannedRun:
    """The result. With findings, `plan` is a draft, or None if not even that is possible."""

    stage: DeployedStage
    checklist: Checklist
    plan: RunPlan | None = None
    spec: ModelSpec | None = None
    report: DatasetReport | None = None
    """What training would make of the data; None without data, or if it was not read."""
    requests: dict[str, Request] = field(default_factory=dict)
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
            "data": self.report.model_dump(mode="json") if self.report else None,
            "requests": {name: self.requests.get(name) for name in OPERATIONS},
        }


def plan_run(
    data: LocalData,
    given: Circumstances,
    *,
    name: str,
    needs_data: bool = True,
    progress: Callable[[int], None] = lambda count: None,
) -> PlannedRun:
    """Judges an upload of this name as the workflow would. Without `needs_data`, a run.json may be planned alone.

    Raises `FineTuningError` only if AWS fails; what is wrong with the run is a finding.
    """
    checklist, here = Checklist(), _placeholders(given.stage)
    request, findings = read_request(data.run_json_body)
    checklist.found("run.json", *findings)
    if is_unreadable(findings):
        return PlannedRun(given.stage, checklist)
    submission = _submission(data, request, name)
    if needs_data:
        checklist.attempt("data", data.require_files)
    spec = settle_model(request, given.stage, given.facts.documents.spec, checklist)
    if spec is None:
        return PlannedRun(given.stage, checklist)
    prices = look_up_prices(request, spec, given.facts.price)
    measured = {each: given.measured(spec.model_id, each) for each in training_types(request, spec)}
    prices = replace(prices, measured={each: found for each, found in measured.items() if found})
    planned = make_plan(submission, spec, given.stage, prices, checklist)
    if isinstance(given.facts.documents, JumpStartBucket):
        check_version(given.facts.documents, request, spec, checklist)
        planned = _ask_account(spec, planned, here, given.facts.documents, checklist)
    if spec.model_id != (request.model or given.stage.default_model) or request.model_version not in (
        None,
        spec.version,
    ):
        checklist.unknown("model", f"the other checks assume {spec.model_id} {spec.version}")
    report = _checked_data(data, request, spec, checklist, progress)
    if report and report.ok and not checklist.findings:
        planned = _completed(planned, spec, report, checklist)
    return PlannedRun(given.stage, checklist, planned, spec, report, _requests(spec, planned, here, checklist))


def unlimited_stage(region: str) -> DeployedStage:
    """A stage without limits, for plans without a deployed one."""
    return DeployedStage(
        stage="dev",
        aws_region=region,
        max_runtime_hours=LONGEST_RUNTIME_HOURS,
        training_instance_types=("*",),
        endpoint_ttl_hours=8,
        endpoint_idle_minutes=60,
        bedrock_import=True,
        judge_models=("*",),
    )


def _placeholders(stage: DeployedStage) -> Target:
    """Stands in for what only a deployment knows, in the format of real ARNs and ids."""
    return Target(
        prefix=stage.prefix,
        stage=stage.stage,
        region=stage.aws_region,
        bucket="finetune-dev-artifacts-placeholder",
        role_arn="arn:aws:iam::000000000000:role/placeholder-execution-role",
        import_role_arn="arn:aws:iam::000000000000:role/placeholder-import-role",
        subnets=("subnet-placeholder1", "subnet-placeholder2"),
        security_groups=("sg-placeholder",),
        kms_key_arn=f"arn:aws:kms:{stage.aws_region}:000000000000:key/00000000-0000-0000-0000-000000000000",
        gated_weights=stage.gated_weights,
    )


def _submission(data: LocalData, request: RunRequest, name: str) -> Submission:
    """As if uploaded."""
    prefix = f"runs/{name}/"
    template = data.template.read_bytes() if data.template else None
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
            for within, path in zip(data.within, data.files, strict=True)
        ),
        template_file=template,
    )


def _checked_data(
    data: LocalData,
    request: RunRequest,
    spec: ModelSpec,
    checklist: Checklist,
    progress: Callable[[int], None],
) -> DatasetReport | None:
    """The report of the data as the run would prepare it. A refusal is a finding, unless the plan has the same one."""
    if not data.files:
        return None
    report = checklist.attempt("data", lambda: check_data(data, request, progress, spec=spec))
    if report is None:
        return None
    rows = report.rows
    if not report.refusal:
        checklist.passed("data", f"{rows.train:,} rows to train on, {rows.validation:,} held out")
    elif all(finding.message != report.refusal.message for finding in checklist.findings):
        refusal, paths = report.refusal, " ".join(shlex.quote(str(path)) for path in data.checked)
        fix = f"{refusal.fix} To see each line: finetune check {paths}"
        checklist.found("data", Finding(Code.DATASET_REFUSED, "", refusal.message, fix))
    return report


def _completed(planned: RunPlan, spec: ModelSpec, report: DatasetReport, checklist: Checklist) -> RunPlan:
    """The plan for the size of the prepared data. A limit that it exceeds is a finding."""
    planned = planned.model_copy(update={"checks": [*checklist.checks]})
    try:
        done = complete(planned, spec, str(report.task), summary_of(report))
    except RunRefused as refused:
        checklist.found("time and cost", *refused.findings)
        return planned
    checklist.checks[:] = done.checks
    return done


def _ask_account(
    spec: ModelSpec, planned: RunPlan, here: Target, jumpstart: JumpStartBucket, checklist: Checklist
) -> RunPlan:
    account = AccountChecks(spec, planned, here, checklist)
    account.artefacts(jumpstart)
    quotas = account_quotas(here.region)
    account.quotas(quotas)
    account.import_quota(quotas, lambda: advisory_client("bedrock", here.region))
    account.judge(lambda: advisory_client("bedrock", here.region), datetime.now(UTC))
    return account.remaining_plan()


def _requests(spec: ModelSpec, planned: RunPlan, here: Target, checklist: Checklist) -> dict[str, Request]:
    """The requests of the run, checked against botocore's service model; empty if there are findings."""
    if checklist.findings:
        return {}
    built = run_requests(spec, planned, here)
    check_requests(built, botocore.session.get_session().get_service_model, checklist)
    return {} if checklist.findings else built
