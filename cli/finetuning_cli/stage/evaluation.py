"""Evaluations by the command: a run's endpoint is asked again, and two runs are compared."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from finetuning.aws.sagemaker import sagemaker
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.asking import AnswerBatch, ask_batch, batches, numbers_in
from finetuning.evaluation.comparison import Reply, evaluate
from finetuning.evaluation.questions import OwnPrompt, Question, as_inputs
from finetuning.evaluation.results import EvaluationReport
from finetuning.evaluation.run_comparison import EvaluatedRun, not_evaluated
from finetuning.lazy_model import LazyModel
from finetuning.operations.answers import asker_of, questions_of, replies_of
from finetuning.operations.run import Run
from finetuning.report import commands
from finetuning.runs.run_json import MAX_PROMPTS
from finetuning.runs.tags import RUN_TAG
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.imported import find_serving


class LaterEvaluation(LazyModel):
    """What an endpoint answered when it was asked again. `prompts`: "held-out", or the name of the file."""

    run_id: str
    endpoint: str
    asked_at: datetime
    prompts: str
    evaluation: EvaluationReport


def read_prompts(file: Path, run: Run) -> list[Question]:
    """The prompts of a text file with one in each line, or of a .jsonl file with `{"prompt", "reference"}` in each.

    Raises `ValueError`, in a sentence, for a file that has none, too many, or a line in another form.
    """
    plan, found = run.plan, []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            own = OwnPrompt.model_validate_json(line) if file.suffix == ".jsonl" else OwnPrompt(prompt=line)
        except ValidationError as error:
            raise ValueError(
                f'Line {number} of {file} is not {{"prompt": "…", "reference": "…"}}: {error.errors()[0]["msg"]}.'
            ) from error
        inputs = as_inputs(own.prompt, str(plan.task), plan.template, family=plan.family)
        found.append(Question(shown=own.prompt, inputs=inputs, source="file", reference=own.reference))
    if not 1 <= len(found) <= MAX_PROMPTS:
        raise ValueError(f"{file} has {len(found):,} prompts; there must be 1 to {MAX_PROMPTS:,}.")
    return found


def live_model(deployment: Deployment, run: Run) -> tuple[str, str]:
    """The name of the run's endpoint, and what its model is asked by: that name, or the ARN of an imported model.

    Raises `FineTuningError`: ENDPOINT_NOT_FOUND, or RUNS_NOT_COMPARABLE if it serves the model of another run.
    """
    name = run.status.endpoint or run.names.endpoint
    deploy = f"Deploy the run's model with `{commands.deploy(run.run_id, deployment.stage)}`."
    if imported := find_serving(deployment, name):
        _require_own(run, name, imported.run_id, deploy)
        return name, imported.arn
    live = sagemaker().describe_endpoint(name)
    if live is None or live["EndpointStatus"] not in ("InService", "Updating", "SystemUpdating"):
        state = "does not exist" if live is None else f"is {live['EndpointStatus']}"
        raise FineTuningError(Code.ENDPOINT_NOT_FOUND, f"The endpoint {name} of {run.run_id} {state}.", deploy)
    _require_own(run, name, sagemaker().tags(live["EndpointArn"]).get(RUN_TAG, ""), deploy)
    return name, name


def _require_own(run: Run, name: str, served: str, deploy: str) -> None:
    if served != run.run_id:
        message = f"The endpoint {name} serves the model of {served or 'no known run'} now, not that of {run.run_id}."
        raise FineTuningError(Code.RUNS_NOT_COMPARABLE, message, deploy)


def ask_again(
    run: Run, model: str, prompts: Sequence[Question] | None, say: Callable[[str], object]
) -> EvaluationReport:
    """Asks the `prompts`, or those of the run's own evaluation: then with the base model's kept answers.

    `model`: what `live_model` says. `say` gets a line when there are more answers, and when a wait begins.
    """
    plan, asked = run.plan, list(prompts or questions_of(run))
    ask = asker_of(model, str(plan.task), plan.family, say)
    replies: dict[int, Reply] = {}

    def keep_count(batch: AnswerBatch) -> None:
        say(f"{len(replies.keys() | batch.replies.keys())} of {len(asked)} prompts are answered")

    for batch in batches(len(asked)):
        replies |= ask_batch(asked, numbers_in(batch, len(asked)), AnswerBatch(), ask, keep_count).replies
    base = {} if prompts else replies_of(run, "base", len(asked))
    reason = "the base model was not asked these prompts" if prompts else "the run kept no answers of the base model"
    return evaluate(asked, replies, base, not_compared="" if base else reason)


def keep(run: Run, endpoint: str, prompts: str, report: EvaluationReport) -> tuple[str, LaterEvaluation]:
    """Writes the evaluation beside the run's own one, and returns its address; it replaces no other document."""
    now = datetime.now(UTC)
    document = LaterEvaluation(run_id=run.run_id, endpoint=endpoint, asked_at=now, prompts=prompts, evaluation=report)
    key = run.layout.later_evaluation(now)
    run.store.claim(key, document.model_dump_json(indent=2).encode())
    return f"s3://{run.store.bucket}/{key}", document


def evaluated_run(run: Run) -> EvaluatedRun:
    """The documents of the run's own evaluation. Raises `FineTuningError` (RUNS_NOT_COMPARABLE) without one."""
    report = run.find_evaluation()
    if report is None:
        raise not_evaluated(run.run_id)
    return EvaluatedRun(run.status, run.plan, report)
