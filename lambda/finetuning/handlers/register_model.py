"""RegisterModel: adds the tuned model to the model registry, with its lineage and its scores."""

from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.model_files import ModelFiles
from finetuning.aws.sagemaker import sagemaker
from finetuning.evaluation.results import EvaluationReport
from finetuning.handlers.step import Payload, step
from finetuning.operations.run import Run, target
from finetuning.planning import registration
from finetuning.runs.release import ARTEFACT_DIGEST, RELEASE_DIGEST, Release, release_digest
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. A model that is deployed again keeps its version.

    A stage that promotes models to other accounts registers none as approved: a person approves the version, which
    lets the other accounts have it.
    """
    status = run.status
    if status.model_package:
        return status.shown
    plan, here, roles = run.plan, target(), settings().promotion_roles(settings().aws_region)
    dataset, promotion = plan.dataset, plan.promotion
    training_job = promotion.training_job if promotion else status.training_job
    scores = _scores(run.find_evaluation())
    package = registration.model_package(
        read_model_spec(plan.model_id, plan.model_version),
        plan,
        here,
        training_job,
        run.tuned_model,
        dataset.sha256 if dataset else {},
        scores,
        releasing=bool(roles),
        more=registration.promoted(plan) | (_release(run, training_job, scores or {}) if roles else {}),
    )
    group = registration.model_package_group(plan, here)
    arn = sagemaker().register_model(group, package)
    if roles:
        sagemaker().share_group(group["ModelPackageGroupName"], registration.group_policy(plan, here, roles))
    name, version = arn.split("/")[-2:]
    waiting = "; approve it there to promote it" if roles else ""
    status = run.record(f"Registered as version {version} of {name}{waiting}", model_package=arn)
    return status.shown


def _release(run: Run, training_job: str, scores: dict[str, str]) -> dict[str, str]:
    """Writes what another account needs to deploy the model; returns the properties that prove it."""
    location = run.tuned_model
    release = Release.of(run.plan, training_job, location, ModelFiles(location).described(), scores)
    document = release.model_dump_json(indent=2).encode()
    run.store.write(run.layout.release, document)
    return {ARTEFACT_DIGEST: release.digest, RELEASE_DIGEST: release_digest(document)}


def _scores(evaluation: EvaluationReport | None) -> dict[str, str] | None:
    if evaluation is None:
        return None
    summary = evaluation.summary
    means = {"tuned": summary.tuned, "base": summary.base}
    scores = {f"rouge-l:{model}": f"{mean.rouge_l:.3f}" for model, mean in means.items() if mean}
    return {"verdict": str(evaluation.verdict), **scores, "prompts": str(summary.scored)}
