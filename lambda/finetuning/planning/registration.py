"""A run's entry in the model registry: a version in the group of its endpoint, with the origin of the model."""

from collections.abc import Mapping, Sequence

from finetuning.jumpstart.requests import Request
from finetuning.jumpstart.spec import ModelSpec
from finetuning.jumpstart.target import Target
from finetuning.planning.orders import MAX_TAG_VALUE, tag_value, tuned_model
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.runs.release import ARTEFACT_DIGEST, PROMOTED_FROM, RUN
from finetuning.runs.tags import OWNER_TAG, STAGE_TAG

JSON = "application/json"
MAX_FILES = 20
"""Maximum number of digests: SageMaker allows 50 properties. A training channel has one or two files."""


def model_package_group(plan: RunPlan, target: Target) -> Request:
    """CreateModelPackageGroup: one group per endpoint, which lists the models that it serves or has served."""
    endpoint = plan.names(target.prefix).endpoint
    ours = {STAGE_TAG: target.stage, OWNER_TAG: target.prefix}
    return {
        "ModelPackageGroupName": endpoint,
        "ModelPackageGroupDescription": f"The models that {endpoint} serves or has served",
        "Tags": [{"Key": key, "Value": value} for key, value in (plan.tags | ours).items()],
    }


def model_package(
    spec: ModelSpec,
    plan: RunPlan,
    target: Target,
    training_job: str,
    artifact: str,
    digests: Mapping[str, str],
    scores: Mapping[str, str] | None,
    *,
    releasing: bool = False,
    more: Mapping[str, str] | None = None,
) -> Request:
    """CreateModelPackage. `artifact`: S3 URI of the model's files. `digests`: SHA-256 of each training file, by name.
    `scores`: the result of the evaluation, by the name of its property; None if there was no evaluation. `more`: other
    properties.

    The version is approved if the run deployed the model; otherwise, and in a stage that is `releasing` models to other
    accounts, it waits for an approval. It has no tags, because SageMaker does not allow tags on a version.
    """
    model = tuned_model(spec, plan, target, artifact)
    container = {key: model["PrimaryContainer"][key] for key in ("Image", "Environment", "ModelDataSource")}
    request: Request = {
        "ModelPackageGroupName": plan.names(target.prefix).endpoint,
        "ModelPackageDescription": f"{plan.model_id} {plan.model_version}, tuned by the run {plan.run_id}",
        "ClientToken": plan.run_id,
        "ModelApprovalStatus": "Approved" if plan.endpoint.deploy and not releasing else "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": [JSON],
            "SupportedResponseMIMETypes": [JSON],
            "SupportedRealtimeInferenceInstanceTypes": [plan.endpoint.instance_type],
        },
        "CustomerMetadataProperties": _origin(plan, target, training_job, digests, {**(scores or {}), **(more or {})}),
    }
    if scores is not None:
        statistics = {"ContentType": JSON, "S3Uri": _uri(target, RunLayout(plan.run_id).evaluation)}
        request["ModelMetrics"] = {"ModelQuality": {"Statistics": statistics}}
    return request


def promoted(plan: RunPlan) -> dict[str, str]:
    """The properties of a version that another account has trained; none of any other."""
    if plan.promotion is None:
        return {}
    promotion = plan.promotion
    return {
        **promotion.scores,
        PROMOTED_FROM: promotion.model_package,
        ARTEFACT_DIGEST: promotion.artefact_digest,
    }


def group_policy(plan: RunPlan, target: Target, roles: Sequence[str]) -> Request:
    """The policy of the group: the roles of other accounts may read what it says of its versions. Principals are
    accounts, as in the policy of the bucket (`promotion_grants` of the infrastructure).
    """
    group, account = plan.names(target.prefix).endpoint.lower(), target.role_arn.split(":")[4]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Promotion",
                "Effect": "Allow",
                "Principal": {"AWS": sorted({f"arn:aws:iam::{role.split(':')[4]}:root" for role in roles})},
                "Action": "sagemaker:DescribeModelPackage",
                "Resource": f"arn:aws:sagemaker:{target.region}:{account}:model-package/{group}/*",
                "Condition": {"ArnEquals": {"aws:PrincipalArn": list(roles)}},
            }
        ],
    }


def _origin(
    plan: RunPlan,
    target: Target,
    training_job: str,
    digests: Mapping[str, str],
    more: Mapping[str, str],
) -> dict[str, str]:
    layout = RunLayout(plan.run_id)
    properties = {
        RUN: plan.run_id,
        "training-job": training_job,
        "jumpstart-model-id": plan.model_id,
        "jumpstart-model-version": plan.model_version,
        "task": str(plan.task),
        "plan": _uri(target, layout.plan),
        "report": _uri(target, layout.report_page),
    }
    if plan.accepted:
        properties |= {"licence": plan.accepted.licence_key, "licence-accepted-by": tag_value(plan.accepted.in_words)}
    properties |= {f"sha256:{name}"[:128]: digests[name] for name in sorted(digests)[:MAX_FILES]}
    properties |= more
    return {key: value[:MAX_TAG_VALUE] for key, value in properties.items() if value}


def _uri(target: Target, key: str) -> str:
    return f"s3://{target.bucket}/{key}"
