"""The judge of a run's answers, if run.json names one: whether the run may have it, and what it costs."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from finetuning.bedrock.judges import is_profile, token_price
from finetuning.errors import Code, Finding
from finetuning.jumpstart.family import DEFAULT_LENGTH
from finetuning.planning.checklist import Checklist
from finetuning.runs.asking_limits import ANSWER_TOKENS, INSTRUCTION_TOKENS, JUDGE_TOKENS, QUESTIONS_PER_PAIR
from finetuning.runs.plan import DatasetSummary, EvaluationEstimate, JudgePlan, TrainingPlan
from finetuning.runs.run_json import RunRequest
from finetuning.settings import DeployedStage

CHECK = "judge"
"""The line of the preflight's table."""
FIELD = "evaluation.judge"
WITHOUT = "remove evaluation.judge"


def judge_plan(request: RunRequest, stage: DeployedStage) -> JudgePlan | None:
    """None if no judge is asked for."""
    judge = request.evaluation.judge
    return JudgePlan(model=judge, price=token_price(judge, stage.aws_region)) if judge else None


def check_judge(request: RunRequest, stage: DeployedStage, checklist: Checklist) -> None:
    """The stage must allow the judge, and there must be two answers to compare."""
    judge = request.evaluation.judge
    if judge is None:
        return
    findings = [*_not_allowed(judge, stage), *_nothing_to_judge(request)]
    checklist.found(CHECK, *findings)
    if not findings:
        where = f"Bedrock in {stage.aws_region}"
        if is_profile(judge):
            where += " and in the other regions of this inference profile"
        checklist.passed(CHECK, f"{judge}: prompts, references and answers are sent to {where}")


def _not_allowed(judge: str, stage: DeployedStage) -> Iterator[Finding]:
    if any(fnmatchcase(judge, allowed) for allowed in stage.judge_models):
        return
    others = ", ".join(stage.judge_models)
    message = f"The stage {stage.stage} allows " + (
        f"the judges {others} only, not {judge}." if others else "no judge."
    )
    named = ",".join((*stage.judge_models, judge))
    fix = f"Deploy it with `-c judge_models={named}`, or {WITHOUT}."
    yield Finding(Code.JUDGE_NOT_ALLOWED, FIELD, message, f"Name one of them; or d{fix[1:]}" if others else fix)


def _nothing_to_judge(request: RunRequest) -> Iterator[Finding]:
    asked, reason = request.evaluation, ""
    if not request.endpoint.deploy:
        reason = "endpoint.deploy is false, so that no model is asked"
    elif asked.compare_with_base is False and not asked.must_beat_base:
        reason = "evaluation.compare_with_base is false, so that the base model is not asked"
    if reason:
        message = f"A judge compares the tuned and the base model's answers, but {reason}."
        yield Finding(Code.RUN_JSON_INVALID, FIELD, message, f"Set that to true, or {WITHOUT}.")


def with_judge(
    known: EvaluationEstimate, judge: JudgePlan, training: TrainingPlan, dataset: DatasetSummary | None
) -> EvaluationEstimate:
    """The estimate with the cost of the judge, who reads prompt, reference and both answers in two orders."""
    tokens, source = _row_tokens(training, dataset)
    questions, read = QUESTIONS_PER_PAIR * known.prompts, INSTRUCTION_TOKENS + tokens + 2 * ANSWER_TOKENS
    usd = questions * judge.price.usd(read, JUDGE_TOKENS) if judge.price else None
    cost = (
        f"{judge.price.read:g} USD per million tokens read, {judge.price.written:g} written ({judge.price.source})"
        if judge.price
        else "unknown price"
    )
    assumption = (
        f"{questions:,} questions to the judge {judge.model} of about {read:,} tokens ({INSTRUCTION_TOKENS} of "
        f"instruction, {tokens:,} of prompt and reference, {source}; 2 answers of {ANSWER_TOKENS}), {cost}"
    )
    return known.model_copy(
        update={
            "judge_usd": None if usd is None else round(usd, 2),
            "judge_usd_at_most": None if usd is None else round(2 * usd, 2),
            "assumptions": [*known.assumptions, assumption],
        }
    )


def _row_tokens(training: TrainingPlan, dataset: DatasetSummary | None) -> tuple[int, str]:
    """Of a prompt with its reference, and where that is from: the mean row, or before it is known the longest."""
    if dataset and dataset.train_rows:
        return round(dataset.train_tokens / dataset.train_rows), "the mean of the rows"
    length = training.options[0].hyperparameters.get("max_input_length", "-1")
    return DEFAULT_LENGTH if length == "-1" else int(length), "the longest row that is trained on"
