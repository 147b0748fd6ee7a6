"""RegisterModel: adds the tuned model to the model registry, with its lineage and its scores."""

from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.sagemaker import sagemaker
from finetuning.evaluation.results import EvaluationReport
from finetuning.handlers.step import Payload, step
from finetuning.operations.run import Run, target
from finetuning.planning import registration


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. A model that is deployed again keeps its version."""
    status = run.status
    if status.model_package:
        return status.shown
    plan, here = run.plan, target()
    dataset = plan.dataset
    package = registration.model_package(
        read_model_spec(plan.model_id, plan.model_version),
        plan,
        here,
        status.training_job,
        run.tuned_model,
        dataset.sha256 if dataset else {},
        _scores(run.find_evaluation()),
    )
    arn = sagemaker().register_model(registration.model_package_group(plan, here), package)
    group, version = arn.split("/")[-2:]
    status = run.record(f"Registered as version {version} of {group}", model_package=arn)
    return status.shown


def _scores(evaluation: EvaluationReport | None) -> dict[str, str] | None:
    if evaluation is None:
        return None
    summary = evaluation.summary
    means = {"tuned": summary.tuned, "base": summary.base}
    scores = {f"rouge-l:{model}": f"{mean.rouge_l:.3f}" for model, mean in means.items() if mean}
    return {"verdict": str(evaluation.verdict), **scores, "prompts": str(summary.scored)}
