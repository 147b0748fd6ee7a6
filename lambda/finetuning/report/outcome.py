"""How a run ended, in words: headline, what was spent, and the command that starts it again."""

from datetime import timedelta

from finetuning.errors import Code
from finetuning.evaluation.results import EvaluationReport
from finetuning.evaluation.verdict import headline as evaluation_headline
from finetuning.report import commands
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunState, RunStatus
from finetuning.runs.timeline import PHASES
from finetuning.settings import NEVER

CAUSES = {
    Code.UPLOAD_NOT_FOUND: "the upload was not found",
    Code.UPLOAD_WITHOUT_DATA: "the upload has no data file",
    Code.UPLOAD_FOLDER_TAKEN: "the upload folder has other files",
    Code.RUN_JSON_INVALID: "run.json is not valid",
    Code.RUN_REFUSED: "the checks before the start found a problem",
    Code.EULA_NOT_ACCEPTED: "Meta's licence is not accepted",
    Code.MODEL_UNKNOWN: "the model is not known",
    Code.MODEL_SPEC_UNUSABLE: "JumpStart's document of the model cannot be used",
    Code.REGION_UNSUPPORTED: "the model is not available in this region",
    Code.TASK_UNSUPPORTED: "the model cannot be trained for this task",
    Code.TEMPLATE_INVALID: "the template is not valid",
    Code.HYPERPARAMETER_INVALID: "a hyperparameter is not valid",
    Code.HYPERPARAMETERS_CONFLICT: "two hyperparameters contradict each other",
    Code.INSTANCE_TYPE_UNSUPPORTED: "the instance type is not supported",
    Code.MODEL_NOT_IMPORTABLE: "Bedrock cannot import the model",
    Code.BEDROCK_NOT_ENABLED: "the stage may not import models into Bedrock",
    Code.JUDGE_NOT_ALLOWED: "the stage does not allow this judge",
    Code.JUDGE_UNUSABLE: "the judge cannot be asked",
    Code.TRAINING_DISABLED: "the stage does not train models",
    Code.TRAINING_PLAN_UNUSABLE: "the training plan cannot be used",
    Code.GATED_WEIGHTS_MISSING: "the model's weights cannot be located",
    Code.ARTIFACT_MISSING: "a file of JumpStart is missing",
    Code.NAME_TAKEN: "a name is already in use",
    Code.KMS_KEY_UNUSABLE: "the encryption key cannot be used",
    Code.ROLE_UNUSABLE: "the execution role cannot be used",
    Code.PRICE_UNKNOWN: "the price is not known",
    Code.OVER_BUDGET: "the run would cost more than allowed",
    Code.OUT_OF_TIME: "the run would take longer than allowed",
    Code.PROMOTION_DISABLED: "the stage may not copy models of another account",
    Code.PROMOTION_NOT_APPROVED: "the model is not approved in its account",
    Code.PROMOTION_UNUSABLE: "the model of the other account cannot be used",
    Code.PROMOTION_DIGEST_DIFFERS: "the model's files are not the approved ones",
    Code.ALREADY_PROMOTED: "the model was copied before",
    Code.DATASET_REFUSED: "the data was refused",
    Code.TURN_TIMED_OUT: "the run waited too long for its turn",
    Code.TRAINING_FAILED: "the training job failed",
    Code.TRAINING_STOPPED: "the training job was stopped",
    Code.TRAINING_OUT_OF_TIME: "the training job reached its maximum run time",
    Code.TRAINING_NO_CAPACITY: "AWS has no capacity for the training",
    Code.TRAINING_COLUMN_MISSING: "the training script needs a column that the data lacks",
    Code.TRAINING_OUT_OF_MEMORY: "the training ran out of memory",
    Code.TRAINING_DISK_FULL: "the training instance's disk is full",
    Code.TRAINING_LICENCE_REFUSED: "the training job was refused access to the weights",
    Code.TRAINING_DATA_UNREADABLE: "the training script cannot read the data",
    Code.TRAINING_ARTEFACT_MISSING: "JumpStart's script or weights are missing",
    Code.TRAINING_HYPERPARAMETER_REFUSED: "the training script refused a hyperparameter",
    Code.TRAINING_INSTANCE_FAULT: "the training instance failed",
    Code.TRAINING_ACCESS_DENIED: "AWS denied the training job access",
    Code.TRAINING_NETWORK_BLOCKED: "the training job could not reach a service",
    Code.TRAINING_NCCL_TIMEOUT: "the training's GPUs lost contact with each other",
    Code.TRAINING_AWS_FAULT: "AWS had an internal error during the training",
    Code.APPROVAL_REJECTED: "the deployment was rejected",
    Code.APPROVAL_TIMED_OUT: "nobody approved the deployment in time",
    Code.ENDPOINT_FAILED: "the endpoint did not come into service",
    Code.ENDPOINT_NO_CAPACITY: "AWS has no capacity for the endpoint",
    Code.ENDPOINT_CAPTURE_DIFFERS: "the endpoint stores requests as an earlier run asked, not this one",
    Code.ENDPOINT_ROLLED_BACK: "the endpoint went back to the model before",
    Code.ENDPOINT_NOT_OWNED: "the endpoint belongs to another upload",
    Code.ENDPOINT_NAME_TAKEN: "the endpoint's name is already in use",
    Code.ENDPOINT_OUT_OF_TIME: "the endpoint was not in service in time",
    Code.IMPORT_FAILED: "Bedrock did not import the model",
    Code.IMPORT_ACCESS_DENIED: "Bedrock may not read the model",
    Code.IMPORT_OUT_OF_TIME: "Bedrock did not import the model in time",
    Code.MODEL_NOT_READY: "Bedrock did not load the imported model in time",
    Code.ENDPOINT_BUSY: "the endpoint is being changed",
    Code.ENDPOINT_ANSWERS_BROKEN: "the tuned model's answers are broken",
    Code.SWEEP_INCOMPLETE: "the sweep was incomplete",
    Code.EVALUATION_BELOW_BASE: "the tuned model is worse than the base model",
    Code.EVALUATION_INCONCLUSIVE: "the evaluation does not show that tuning helped",
    Code.QUOTA_EXCEEDED: "a quota of the account is too low",
    Code.ACCESS_DENIED: "AWS denied access",
    Code.REQUEST_INVALID: "AWS rejected a request",
    Code.AWS_UNAVAILABLE: "AWS was not available",
    Code.RUN_ABORTED: "the run was aborted",
    Code.RUN_TIMED_OUT: "a time limit was exceeded",
    Code.STEP_OUT_OF_MEMORY: "a step ran out of memory",
    Code.STEP_CRASHED: "a step ended without an answer",
    Code.INTERNAL_ERROR: "the workflow has a defect",
}
"""A clause for each code that a run can end with."""

NOTHING_TO_CORRECT = {
    Code.TURN_TIMED_OUT,
    Code.TRAINING_STOPPED,
    Code.TRAINING_NO_CAPACITY,
    Code.TRAINING_INSTANCE_FAULT,
    Code.TRAINING_AWS_FAULT,
    Code.TRAINING_ACCESS_DENIED,
    Code.TRAINING_NETWORK_BLOCKED,
    Code.TRAINING_NCCL_TIMEOUT,
    Code.PROMOTION_DISABLED,
    Code.PROMOTION_NOT_APPROVED,
    Code.PROMOTION_UNUSABLE,
    Code.PROMOTION_DIGEST_DIFFERS,
    Code.ALREADY_PROMOTED,
    Code.QUOTA_EXCEEDED,
    Code.ACCESS_DENIED,
    Code.AWS_UNAVAILABLE,
    Code.RUN_ABORTED,
    Code.RUN_TIMED_OUT,
    Code.STEP_OUT_OF_MEMORY,
    Code.STEP_CRASHED,
    Code.INTERNAL_ERROR,
}
"""The same upload can succeed later, or after a change outside it."""

NEEDS_ANOTHER_TRAINING = {Code.ENDPOINT_ANSWERS_BROKEN, Code.EVALUATION_BELOW_BASE, Code.EVALUATION_INCONCLUSIVE}


def headline(status: RunStatus, evaluation: EvaluationReport | None = None) -> str:
    """The outcome in one line: the verdict of the evaluation, or what was spent and why the run ended."""
    match status.state:
        case RunState.SUCCEEDED if evaluation:
            return evaluation_headline(evaluation)
        case RunState.SUCCEEDED:
            return "The tuned model is in service" if status.endpoint else "The tuned model is ready"
        case RunState.FAILED | RunState.ABORTED:
            return f"{_spent(status)}: {_cause(status)}"
        case RunState.RUNNING:
            return f"The run is running: {status.step}" if status.step else "The run is starting"


def lead(status: RunStatus) -> str:
    """The sentence below the headline: where the model is, or at which step the run ended."""
    match status.state:
        case RunState.SUCCEEDED if status.imported_model:
            return f"The tuned model is imported into Bedrock, and {status.endpoint} stands for it."
        case RunState.SUCCEEDED if status.endpoint:
            return f"The tuned model is deployed at {status.endpoint}."
        case RunState.SUCCEEDED:
            return "The tuned model is ready; no endpoint was requested."
        case RunState.FAILED:
            return f"The run failed at {_last_step(status)}."
        case RunState.ABORTED:
            return f"The run was aborted at {_last_step(status)}."
        case RunState.RUNNING:
            return status.progress


def serving_price(plan: RunPlan) -> str:
    """Of all instances of the endpoint, or of the imported model by use; "unknown" where it is not known."""
    endpoint = plan.endpoint
    if endpoint.target == "bedrock":
        return endpoint.import_price.in_words if endpoint.import_price else "unknown"
    if endpoint.usd_per_hour is None:
        return "unknown"
    return f"{endpoint.usd_per_hour * endpoint.instance_count:,.2f} USD per hour"


def comparison_cost(plan: RunPlan | None) -> float | None:
    """Estimated USD of the endpoints that stood for the evaluation alone, and of the use of an imported model; None if
    there were neither, or no price.
    """
    known = plan.evaluation.estimate if plan else None
    return known.total_usd if known and (known.temporary_endpoints or known.import_usd) else None


def expiry(status: RunStatus, plan: RunPlan | None) -> str:
    """When the endpoint ends, as a predicate; "" without an endpoint. `finetune extend` and a later run change it."""
    if plan is None or not status.endpoint:
        return ""
    lifetime = plan.endpoint.lifetime
    if lifetime.ttl_hours == NEVER:
        return lifetime.in_words
    changes = [event.time for event in status.events if event.step in ("DeployEndpoint", "DescribeEndpoint")]
    latest = (changes[-1] if changes else status.updated_at) + timedelta(hours=lifetime.ttl_hours)
    if lifetime.idle_minutes == NEVER:
        return f"expires on {latest:%Y-%m-%d at %H:%M} UTC"
    earlier = f"{lifetime.idle_minutes:g} minutes without requests"
    return f"expires on {latest:%Y-%m-%d at %H:%M} UTC, or earlier after {earlier}"


def retry(status: RunStatus, plan: RunPlan | None, stage: str) -> tuple[str, str] | None:
    """(when, command) that starts the run, or its deployment, again; None for a run that has not failed."""
    if status.state not in (RunState.FAILED, RunState.ABORTED):
        return None
    codes = _codes(status)
    if status.model_artifact and not codes & NEEDS_ANOTHER_TRAINING:
        return "Deploy the tuned model, without training it again", commands.deploy(status.run_id, stage)
    if codes and codes <= NOTHING_TO_CORRECT:
        return "Start the run again with the same upload", commands.submit_again(status.run_id, stage)
    return "After the correction, start the run again", commands.submit(_uploaded(status, plan), stage)


def _uploaded(status: RunStatus, plan: RunPlan | None) -> str:
    """The name of the uploaded folder or file; without a plan the name in the run's id, which is derived from it."""
    if plan is None:
        return status.run_id.rpartition("-")[0] or status.run_id
    return plan.upload.key.split("/")[1]


def _spent(status: RunStatus) -> str:
    if status.cost.actual_usd:
        return f"{status.cost.actual_usd:,.2f} USD spent"
    return "Training cost not yet known" if status.training_job else "Nothing was spent"


def _cause(status: RunStatus) -> str:
    error = status.error or {}
    first, *others = error.get("findings") or [error]
    cause = CAUSES.get(first.get("code", ""), f"the run ended at {_last_step(status)}")
    return cause + (f", and {len(others)} more problem{'s' if len(others) > 1 else ''}" if others else "")


def _codes(status: RunStatus) -> set[str]:
    error = status.error or {}
    return {str(found.get("code")) for found in error.get("findings") or [error]}


def _last_step(status: RunStatus) -> str:
    """The last step of the run itself: not the clean-up after it."""
    steps = [event.step for event in status.events if event.step in PHASES]
    return status.step if status.step in PHASES or not steps else steps[-1]
