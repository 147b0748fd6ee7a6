"""The preflight of an upload: everything that can be checked before anything is spent, and the resulting plan."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from finetuning.aws.clients import advisory_client
from finetuning.aws.jumpstart_bucket import JumpStartBucket, jumpstart_bucket
from finetuning.aws.pricing import PriceList
from finetuning.aws.run_store import run_store
from finetuning.aws.service_quotas import Quotas
from finetuning.aws.upload_bucket import UploadBucket, upload_bucket
from finetuning.datasets.detection import detect_head
from finetuning.datasets.options import named_columns
from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.assumptions import price_list_region
from finetuning.jumpstart.spec import ModelSpec
from finetuning.jumpstart.target import Target
from finetuning.operations.account_checks import AccountChecks
from finetuning.operations.imports import find_alias
from finetuning.operations.run import target
from finetuning.planning.checklist import Checklist
from finetuning.planning.orders import check_requests, run_requests
from finetuning.planning.planner import make_plan
from finetuning.planning.serving_target import check_import
from finetuning.planning.submission import Submission, look_up_prices, settle_model, training_types
from finetuning.runs.layout import measurement
from finetuning.runs.plan import DataFile, Measurement, RunPlan
from finetuning.runs.run_json import RunRequest, is_unreadable, read_request
from finetuning.runs.uploads import Upload
from finetuning.settings import settings

MOST_SHARDS_AT_ONCE = 10


def preflight(upload: Upload, run_json: bytes) -> tuple[RunPlan | None, Checklist]:
    """The plan of an upload and the preflight's table. With findings the plan is a draft, or None without a known
    model.

    Raises `FineTuningError` only if AWS fails; a problem of the upload is a finding.
    """
    checklist, files, jumpstart, here = Checklist(), upload_bucket(upload), jumpstart_bucket(), target()
    request, findings = read_request(run_json)
    checklist.found("run.json", *findings)
    if is_unreadable(findings):
        return None, checklist
    submission = read_submission(files, upload, request, checklist)
    stage = settings()
    spec = settle_model(request, stage, jumpstart.spec, checklist)
    if spec is None:
        return None, checklist
    check_version(jumpstart, request, spec, checklist)
    prices = look_up_prices(request, spec, price_list(here.region).price)
    prices = replace(prices, measured=_measurements(request, spec))
    plan = make_plan(submission, spec, stage, prices, checklist)
    plan = check_account(spec, plan, here, jumpstart, checklist)
    return plan.model_copy(update={"checks": checklist.checks}), checklist


def _measurements(request: RunRequest, spec: ModelSpec) -> dict[str, Measurement]:
    """What earlier trainings of the model took, by instance type."""
    store = run_store()
    found = {each: store.find(measurement(spec.model_id, each), Measurement) for each in training_types(request, spec)}
    return {instance_type: each for instance_type, each in found.items() if each}


def check_version(jumpstart: JumpStartBucket, request: RunRequest, spec: ModelSpec, checklist: Checklist) -> None:
    """Says so if JumpStart has another version than the one that is used by default."""
    if request.model_version is not None:
        return
    try:
        newest = jumpstart.newest_version(spec.model_id)
    except FineTuningError as error:
        checklist.unknown("model", f"whether there is a newer version: {error.message}")
        return
    if newest != spec.version:
        checklist.unknown(
            "model",
            f"JumpStart's newest version of {spec.model_id} is {newest}; this project was checked against "
            f'{spec.version}, which is used. To use the other: "model_version": "{newest}"',
        )


def check_account(
    spec: ModelSpec, plan: RunPlan, here: Target, jumpstart: JumpStartBucket, checklist: Checklist
) -> RunPlan:
    """Adds the checks that need the account: artefacts, quotas, names, key, role, and last the requests themselves.
    Returns the plan without the default fallback types that cannot be used in the account.
    """
    account = AccountChecks(spec, plan, here, checklist)
    account.artefacts(jumpstart)
    quotas = account_quotas(here.region)
    account.quotas(quotas)
    account.import_quota(quotas, lambda: advisory_client("bedrock", here.region))
    account.judge(lambda: advisory_client("bedrock", here.region), datetime.now(UTC))
    account.way_to_judge(lambda: advisory_client("bedrock-runtime", here.region))
    account.training_plan(advisory_client("sagemaker", here.region), datetime.now(UTC))
    _check_what_requests_name(account, spec, plan, here, checklist)
    return account.remaining_plan()


def check_deployment(plan: RunPlan, has_model: bool) -> Checklist:
    """The checks before the model of an earlier run is deployed again. `has_model`: whether its artefact exists."""
    checklist, jumpstart, here = Checklist(), jumpstart_bucket(), target()
    if has_model:
        checklist.passed("model", "the tuned model exists")
    else:
        checklist.found("model", no_model(plan.run_id))
    spec = jumpstart.spec(plan.model_id, plan.model_version)
    checklist.attempt("endpoint instance", lambda: spec.hosting_image(plan.endpoint.instance_type, here.region))
    check_import(plan, settings(), checklist)
    account = AccountChecks(spec, plan, here, checklist)
    quotas = account_quotas(here.region)
    account.endpoint_quota(quotas, evaluated=False)
    account.import_quota(quotas, lambda: advisory_client("bedrock", here.region))
    _check_what_requests_name(account, spec, plan, here, checklist)
    return checklist


def _check_what_requests_name(
    account: AccountChecks, spec: ModelSpec, plan: RunPlan, here: Target, checklist: Checklist
) -> None:
    """Checks names, key and role, and last the requests themselves."""
    sagemaker = advisory_client("sagemaker", here.region)
    account.names(sagemaker, settings().endpoint_replacement)
    if plan.endpoint.deploy and settings().bedrock_import:
        alias = find_alias(run_store(), plan.names(here.prefix).endpoint)
        account.alias(alias, settings().endpoint_replacement)
    account.key(advisory_client("kms", here.region))
    account.role(advisory_client("iam", here.region))
    if not checklist.findings:
        check_requests(run_requests(spec, plan, here), partial(_service_model, here.region), checklist)


def _service_model(region: str, service: str) -> Any:
    return advisory_client(service, region).meta.service_model


def no_model(run_id: str) -> Finding:
    return Finding(
        Code.RUN_HAS_NO_MODEL,
        "",
        f"The run {run_id} has no tuned model to deploy.",
        "Upload the data again; `finetune runs` shows which runs trained a model.",
    )


def account_quotas(region: str) -> Quotas:
    return Quotas(advisory_client("service-quotas", region), advisory_client("sagemaker", region), region)


def shards_at_once(region: str) -> int:
    """How many shards a run prepares at a time: a fifth of the functions that the account may run, so that five runs
    fit, and ten at most.
    """
    return max(1, min(MOST_SHARDS_AT_ONCE, account_quotas(region).lambda_concurrency() // 5))


def price_list(region: str) -> PriceList:
    return PriceList(advisory_client("pricing", price_list_region(region)), region)


def read_submission(files: UploadBucket, upload: Upload, request: RunRequest, checklist: Checklist) -> Submission:
    """The data files, and what their first rows show."""
    data, template = files.data_files(), files.template_json()
    if data:
        checklist.passed(
            "data", f"{len(data)} file{'s' if len(data) > 1 else ''}, {sum(file.size for file in data):,} bytes"
        )
    else:
        checklist.found(
            "data",
            Finding(
                Code.UPLOAD_WITHOUT_DATA,
                "",
                f"No data file found beside s3://{upload.bucket}/{upload.key}.",
                "Upload the data to the same folder before run.json, which starts the run.",
            ),
        )
    return Submission(
        upload=upload,
        request=request,
        planned_at=datetime.now(UTC),
        files=tuple(
            checklist.attempt("data", partial(_detected, files, file, named_columns(request.data_options, template)))
            or file
            for file in data
        ),
        template_file=template,
    )


def _detected(files: UploadBucket, file: DataFile, named: Collection[str]) -> DataFile:
    detection = detect_head(partial(files.head, file), file.name, file.size, named=named)
    return file.model_copy(update={"detection": detection})
