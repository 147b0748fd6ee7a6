"""The promotion of a model: reads it in the account that trained it, and copies it into this one, proved the same."""

from datetime import UTC, datetime

from pydantic import Field

from finetuning.aws.clients import client
from finetuning.aws.jumpstart_bucket import jumpstart_bucket
from finetuning.aws.model_files import ModelFiles
from finetuning.aws.run_store import RunStore
from finetuning.aws.sagemaker import sagemaker
from finetuning.errors import Code, Finding, FineTuningError, RunRefused
from finetuning.lazy_model import LazyModel
from finetuning.operations.preflight import check_deployment, price_list
from finetuning.operations.run import Run
from finetuning.planning.checklist import Checklist
from finetuning.planning.promotion import (
    Registered,
    not_shared,
    promotion_findings,
    promotion_plan,
    read_package,
    read_release,
    require_own_source,
    require_same,
)
from finetuning.planning.submission import Submission, look_up_prices
from finetuning.runs.layout import RunLayout, promotion_key
from finetuning.runs.plan import RunPlan
from finetuning.runs.release import Release, artefact_digest
from finetuning.runs.run_json import RunRequest, read_request
from finetuning.runs.uploads import Upload
from finetuning.settings import settings


class Promoted(LazyModel):
    """Which run copied a model: a document for each model, by its digest."""

    run_id: str = Field(min_length=1)


def read_promotion(run_json: bytes) -> RunRequest | None:
    """run.json, if it promotes a model; None if it trains one. Raises `RunRefused` with everything that cannot be used,
    before anything is read in the other account.
    """
    request, findings = read_request(run_json)
    if request.promote is None:
        return None
    findings = [*findings, *promotion_findings(request)]
    try:
        require_own_source(request.promote, settings())
    except FineTuningError as error:
        findings.append(Finding(error.code, error.field, error.message, error.fix))
    if findings:
        raise RunRefused(findings)
    return request


def find_release(model_package: str) -> tuple[Registered, Release]:
    """The version in the other account's registry as it is now, which must be approved, and its release."""
    stage = settings()
    there = RunStore(client("s3"), str(stage.promote_from_bucket), "")
    try:
        registered = read_package(model_package, sagemaker().describe_model_package(model_package), stage)
        return registered, read_release(registered, there.read(RunLayout(registered.run_id).release))
    except FineTuningError as error:
        if error.code != Code.ACCESS_DENIED:
            raise
        raise not_shared(model_package, error.message, stage) from error


def plan_promotion(run: Run, upload: Upload, request: RunRequest, registered: Registered, release: Release) -> RunPlan:
    """Plans the deployment and checks it against this account. Raises `RunRefused` with all findings."""
    require_first(run, registered.artefact_digest)
    stage, checklist = settings(), Checklist()
    spec = jumpstart_bucket().spec(release.plan.model_id, release.plan.model_version)
    prices = look_up_prices(request, spec, price_list(stage.aws_region).price).hosting
    submission = Submission(upload, request, datetime.now(UTC))
    plan = promotion_plan(release, registered, submission, spec, stage, prices, checklist)
    deployment = check_deployment(plan, has_model=True)
    checks = [*checklist.checks, *deployment.checks]
    if findings := [*checklist.findings, *deployment.findings]:
        run.record("The preflight found problems", checks=checks)
        raise RunRefused(findings)
    return plan.model_copy(update={"checks": checks})


def copy_model(run: Run, registered: Registered, release: Release) -> str:
    """Copies what is missing of the model's files, and proves that the copy has the registered digest. Returns its
    location, an S3 URI that ends in `/`.
    """
    location = f"s3://{run.store.bucket}/{run.layout.model_artifact(release.training_job)}"
    files = ModelFiles(location)
    there = {(each.name, each.size, each.checksum) for each in files.described()}
    missing = [each for each in release.files if (each.name, each.size, each.checksum) not in there]
    files.copy_from(release.location, missing, settings().kms_key_arn)
    require_same(registered, artefact_digest(files.described()), location)
    return location


def require_first(run: Run, digest: str) -> None:
    """Raises `FineTuningError` (ALREADY_PROMOTED) if another run of this stage has copied the model, and has it."""
    found = run.store.find(promotion_key(digest), Promoted)
    if found is None or found.run_id == run.run_id or not run.other(found.run_id).has_tuned_model():
        return
    raise FineTuningError(
        Code.ALREADY_PROMOTED,
        f"The run {found.run_id} has promoted this model already.",
        f"Deploy it again without a copy: finetune deploy {found.run_id} --stage {settings().stage}",
    )


def note_promotion(run: Run, digest: str) -> None:
    run.store.save(promotion_key(digest), Promoted(run_id=run.run_id))
