"""RegisterModel: the tuned model as a version in the model registry, with where it came from and how it did."""

from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.run_store import run_store
from finetuning.aws.sagemaker import sagemaker
from finetuning.evaluation.results import EvaluationReport
from finetuning.handlers.step import Payload, step
from finetuning.operations.status_board import read_status, record
from finetuning.operations.target import target
from finetuning.planning import registration
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan

STATE = "RegisterModel"


@step
def handler(event: Payload) -> Payload:
    """`{run_id}` → what it shows. A model deployed once more keeps the version it has."""
    run_id, store = event["run_id"], run_store()
    layout, status = RunLayout(run_id), read_status(store, run_id)
    if status.model_package:
        return status.shown
    plan, here = store.load(layout.plan, RunPlan), target()
    package = registration.model_package(
        read_model_spec(plan.model_id, plan.model_version),
        plan,
        here,
        status.training_job,
        store.digests(layout.train),
        _scores(store.find(layout.evaluation, EvaluationReport)),
    )
    arn = sagemaker().register_model(registration.model_package_group(plan, here), package)
    group, version = arn.split("/")[-2:]
    status = record(store, run_id, STATE, f"Registered as version {version} of {group}", model_package=arn)
    return status.shown


def _scores(evaluation: EvaluationReport | None) -> dict[str, str] | None:
    if evaluation is None:
        return None
    summary = evaluation.summary
    means = {"tuned": summary.tuned, "base": summary.base}
    scores = {model: f"{mean.rouge_l:.3f}" for model, mean in means.items() if mean}
    return scores | {"prompts": str(summary.scored)} if scores else scores
