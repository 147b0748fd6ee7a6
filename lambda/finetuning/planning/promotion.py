"""The promotion of a model that another account has trained: which version may be used, and the plan of its run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.assumptions import Price
from finetuning.jumpstart.spec import ModelSpec
from finetuning.planning.checklist import Checklist
from finetuning.planning.endpoint_terms import endpoint_plan
from finetuning.planning.planner import check_tags
from finetuning.planning.submission import Submission
from finetuning.runs.plan import EvaluationPlan, Promotion, RunPlan, UploadedObject
from finetuning.runs.release import ARTEFACT_DIGEST, RELEASE_DIGEST, RUN, Release, release_digest
from finetuning.runs.run_json import RunRequest
from finetuning.runs.uploads import RUN_ID
from finetuning.settings import DeployedStage

ARN = re.compile(r"arn:aws:sagemaker:(?P<region>[^:]+):(?P<account>\d{12}):model-package/(?P<group>[^/]+)/\d+")
APPROVED = "Approved"
BESIDE = {"promote", "endpoint", "tags", "approval"}
"""Fields of run.json that a promotion may have."""


@dataclass(frozen=True)
class Registered:
    """What the registry of the other account says of a version."""

    model_package: str
    run_id: str
    artefact_digest: str
    release_digest: str
    location: str
    """S3 URI of the model's files, ending in `/`."""


def group_of(model_package: str) -> str:
    """The group of the version; "" for what is no version's ARN."""
    found = ARN.fullmatch(model_package)
    return found["group"] if found else ""


def require_own_source(model_package: str, stage: DeployedStage) -> None:
    """Raises `FineTuningError` unless the version is one of the stage that this one may promote from, by its ARN."""
    if not stage.promote_from:
        raise FineTuningError(
            Code.PROMOTION_DISABLED,
            f"The stage {stage.stage} copies no models of other accounts.",
            "Use another --stage, or deploy it with the settings in the other stage's output PromotionSettings.",
            field="promote",
        )
    found = ARN.fullmatch(model_package)
    here = (stage.aws_region, stage.promote_from_account)
    group = f"{stage.promote_from_prefix}-"
    if not found or (found["region"], found["account"]) != here or not found["group"].startswith(group):
        raise _unusable(
            f"{model_package} is not a version of a group {group}… in the account {stage.promote_from_account}, "
            f"{stage.aws_region}: {stage.stage} may promote models of that stage only",
        )


def read_package(model_package: str, package: Mapping[str, Any], stage: DeployedStage) -> Registered:
    """Judges a version, as in DescribeModelPackage's response. Raises `FineTuningError` for one that is not approved or
    was not registered by a stage that promotes.
    """
    approval = package.get("ModelApprovalStatus")
    if approval != APPROVED:
        raise FineTuningError(
            Code.PROMOTION_NOT_APPROVED,
            f"{model_package} is not approved in the account {stage.promote_from_account}: it is {approval}.",
            "Have it approved there (`aws sagemaker update-model-package`), then promote it again.",
        )
    said = package.get("CustomerMetadataProperties", {})
    containers = package.get("InferenceSpecification", {}).get("Containers", [])
    location = containers[0].get("ModelDataSource", {}).get("S3DataSource", {}).get("S3Uri", "") if containers else ""
    registered = Registered(
        model_package=model_package,
        run_id=said.get(RUN, ""),
        artefact_digest=said.get(ARTEFACT_DIGEST, ""),
        release_digest=said.get(RELEASE_DIGEST, ""),
        location=location,
    )
    if not RUN_ID.fullmatch(registered.run_id) or not registered.release_digest:
        raise _unusable(f"{model_package} was registered before its stage promoted models, or by other software")
    if not registered.artefact_digest:
        raise _unusable(f"S3 keeps no checksum of a whole file of {model_package}, with which a copy could be compared")
    if not location.startswith(f"s3://{stage.promote_from_bucket}/runs/{registered.run_id}/training/"):
        raise _unusable(f"The files of {model_package} are not those of its run in {stage.promote_from_bucket}")
    return registered


def read_release(registered: Registered, document: bytes | None) -> Release:
    """release.json, if it is the one that was registered. Raises `FineTuningError` otherwise."""
    if document is None:
        raise _unusable(f"The release.json of {registered.run_id} is missing in the other account")
    if release_digest(document) != registered.release_digest:
        raise _differs(f"The release.json of {registered.run_id} is not the one that was registered")
    release = Release.model_validate_json(document)
    if release.location != registered.location or release.digest != registered.artefact_digest:
        raise _differs(f"The version {registered.model_package} was changed since it was registered")
    return release


def require_same(registered: Registered, found: str, where: str) -> None:
    """Raises `FineTuningError` unless the digest `found` of the files `where` is the registered one."""
    if found != registered.artefact_digest:
        raise _differs(
            f"The files in {where} have the digest {found or 'unknown'}, "
            f"not the registered {registered.artefact_digest}"
        )


def promotion_findings(request: RunRequest) -> list[Finding]:
    """A finding for each field of run.json that says something about a training."""
    findings = []
    if not request.endpoint.deploy:
        message, fix = "A run that promotes a model deploys it.", "Remove endpoint.deploy."
        findings = [Finding(Code.RUN_JSON_INVALID, "endpoint.deploy", message, fix)]
    return findings + [
        Finding(
            Code.RUN_JSON_INVALID,
            name,
            f"{name} is for a run that trains, and this one promotes a model.",
            "Remove it; the model keeps what it was trained with.",
        )
        for name in sorted(request.model_fields_set - BESIDE)
    ]


def promotion_plan(
    release: Release,
    registered: Registered,
    submission: Submission,
    spec: ModelSpec,
    stage: DeployedStage,
    prices: Mapping[str, Price],
    checklist: Checklist,
) -> RunPlan:
    """The plan of the run that deploys the model here: what it was trained with, and this stage's endpoint. A person
    approves it in every case.
    """
    upload, trained = submission.upload, release.plan
    endpoint = endpoint_plan(submission, spec, stage, prices, checklist)
    check_tags(submission.request, checklist)
    return trained.model_copy(
        update={
            "run_id": upload.run_id,
            "name": upload.name,
            "upload": UploadedObject(bucket=upload.bucket, key=upload.key, version_id=upload.version_id),
            "endpoint": endpoint,
            "evaluation": EvaluationPlan(held_out=0, prompts=[], compare_with_base=False),
            "tags": submission.request.tags,
            "approval": True,
            "promotion": Promotion(
                model_package=registered.model_package,
                run_id=registered.run_id,
                training_job=release.training_job,
                artefact_digest=registered.artefact_digest,
                scores=release.scores,
            ),
            "checks": checklist.checks,
        }
    )


def not_shared(model_package: str, why: str, stage: DeployedStage) -> FineTuningError:
    """For a version, or its release, that the other account does not let this stage read."""
    account = model_package.split(":")[4]
    return FineTuningError(
        Code.PROMOTION_UNUSABLE,
        f"The account {account} does not let this stage read {model_package}: {why}",
        f"Deploy the stage there with promote_to=ACCOUNT/{stage.stage}, the number of this account and this stage. A "
        "group of the registry is shared when the next run registers a model in it.",
    )


def _unusable(what: str) -> FineTuningError:
    fix = "`finetune promote` takes the ARN of a version that the other stage has registered; its report names it."
    return FineTuningError(Code.PROMOTION_UNUSABLE, f"{what}.", fix)


def _differs(what: str) -> FineTuningError:
    fix = "Do not use it. Find out who changed it (CloudTrail, S3's access log); train again and approve that version."
    return FineTuningError(Code.PROMOTION_DIGEST_DIFFERS, f"{what}.", fix)
