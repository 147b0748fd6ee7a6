"""Checks a submission and makes the plan of the run.

`make_plan` does not stop at the first problem. `complete` adds what is known only when the dataset is prepared (rows,
tokens, the task of a Parquet file), and checks the plan again.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from finetuning.datasets.data_errors import naming
from finetuning.datasets.options import DataOptions
from finetuning.datasets.resolution import Resolution, resolve
from finetuning.datasets.templates import TEMPLATE_FIX, Template, read_template, template_columns
from finetuning.errors import Code, Finding, FineTuningError, RunRefused
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.family import DEFAULT_LENGTH, Task
from finetuning.jumpstart.spec import ModelSpec, public_address
from finetuning.planning.cautions import BATCHES, check_batches, check_learning_rate
from finetuning.planning.checklist import Checklist
from finetuning.planning.endpoint_terms import endpoint_plan
from finetuning.planning.evaluation_terms import evaluation_plan, settled
from finetuning.planning.judge_terms import check_judge, judge_plan
from finetuning.planning.submission import Prices, Submission, training_types
from finetuning.planning.training_options import (
    FALLBACKS,
    Limits,
    Workload,
    trainable_types,
    training_limits,
    training_options,
)
from finetuning.runs.plan import (
    Acceptance,
    DatasetSummary,
    RunPlan,
    TrainingOption,
    TrainingPlan,
    UploadedObject,
)
from finetuning.runs.run_json import RunRequest
from finetuning.runs.tags import RESERVED_PREFIXES
from finetuning.settings import DeployedStage

if TYPE_CHECKING:  # functions that only plan need not load it
    from finetuning.datasets.dataset_report import DatasetReport

SPLIT_RATIO = "validation_split_ratio"


def make_plan(
    submission: Submission, spec: ModelSpec, stage: DeployedStage, prices: Prices, checklist: Checklist
) -> RunPlan:
    """Checks the submission and returns its plan; adds all findings to `checklist`.

    If there are findings, the plan is only a draft: the model's defaults replace what was refused, so that later checks
    can run. Use only a plan without findings.
    """
    request, upload = submission.request, submission.upload
    _check_that_it_trains(request, stage, checklist)
    accepted = _acceptance(submission, spec, stage, checklist)
    data_options = _data_options(submission, checklist)
    task, resolution = _task(submission, data_options, spec, checklist)
    _check_template(submission, data_options.template, task, checklist)
    limits = training_limits(request, stage, checklist)
    chosen = request.training.fallback_instance_types is not None
    options = training_options(
        spec,
        trainable_types(training_types(request, spec), spec, stage, checklist, chosen=chosen),
        _workload(submission, task, prices),
        limits,
        prices.training,
        checklist,
        chosen=chosen,
    )
    training = TrainingPlan(
        options=options,
        max_runtime_hours=limits.hours,
        max_cost_usd=limits.usd,
        capacity_wait_hours=request.training.capacity_wait_hours,
        fallbacks_chosen=chosen,
        training_plan_arn=request.training.training_plan_arn,
    )
    endpoint = endpoint_plan(submission, spec, stage, prices.hosting, checklist)
    plan = RunPlan(
        run_id=upload.run_id,
        name=upload.name,
        upload=UploadedObject(bucket=upload.bucket, key=upload.key, version_id=upload.version_id),
        data_files=list(submission.files),
        model_id=spec.model_id,
        model_version=spec.version,
        model_provenance=spec.provenance,
        accept_eula=accepted is not None,
        accepted=accepted,
        task=task,
        data_options=data_options,
        resolution=resolution,
        requested_hyperparameters=dict(request.hyperparameters),
        training=training,
        endpoint=endpoint,
        evaluation=evaluation_plan(request, support(spec.model_id), endpoint, training, judge_plan(request, stage)),
        tags=request.tags,
        approval=request.approval and request.endpoint.deploy,
    )
    check_learning_rate(options[0], checklist)
    _check_evaluation(request, checklist)
    check_judge(request, stage, checklist)
    names = plan.names(stage.prefix)
    checklist.passed("names", f"{names.training_job(0)}, {names.endpoint}")
    check_tags(request, checklist)
    _compare_with_table(spec, options[0], checklist)
    return plan.model_copy(update={"checks": [*checklist.checks]})


def summary_of(report: "DatasetReport", sha256: Mapping[str, str] | None = None) -> DatasetSummary:
    return DatasetSummary(
        train_rows=report.rows.train,
        validation_rows=report.rows.validation,
        test_rows=report.rows.test,
        train_tokens=report.statistics.trained_tokens,
        tokens_from=report.statistics.tokens_from,
        sha256=dict(sha256 or {}),
    )


def complete(plan: RunPlan, spec: ModelSpec, task_name: str, dataset: DatasetSummary) -> RunPlan:
    """The plan with the dataset's size and task, and with hyperparameters and estimates updated for them.

    `task_name` is the value of a `Task`. Raises `RunRefused` with all findings if the run exceeds a limit now.
    """
    checklist, task = Checklist(), Task(task_name)
    checklist.attempt("task", lambda: support(spec.model_id).require(task))
    requested = plan.requested_hyperparameters
    if dataset.validation_rows == 0 and any(p.name == SPLIT_RATIO for p in spec.hyperparameters):
        # Without a validation channel the script would split off validation rows itself.
        requested = {SPLIT_RATIO: 0, **requested}
    options = training_options(
        spec,
        plan.training.instance_types,
        Workload(
            task,
            requested,
            dataset.train_tokens,
            dataset.tokens_from,
            {o.instance_type: o.measured for o in plan.training.options if o.measured},
        ),
        Limits(plan.training.max_runtime_hours, plan.training.max_cost_usd),
        {o.instance_type: o.price for o in plan.training.options if o.price},
        checklist,
        chosen=plan.training.fallbacks_chosen,
    )
    if checklist.findings:
        raise RunRefused(checklist.findings)
    training = plan.training.model_copy(update={"options": options})
    evaluation = plan.evaluation
    if plan.endpoint.deploy:
        evaluation = settled(evaluation, support(spec.model_id), plan.endpoint, training, dataset)
    check_batches(support(spec.model_id), options, checklist)
    checks = [check for check in plan.checks if check.check != BATCHES]
    checks += [check for check in checklist.checks if check.check in (FALLBACKS, BATCHES)]
    changes = {"task": task, "dataset": dataset, "training": training, "evaluation": evaluation, "checks": checks}
    return plan.model_copy(update=changes)


def _workload(submission: Submission, task: Task | None, prices: Prices) -> Workload:
    """What is trained, as far as the files' sizes show it."""
    tokens, budget = submission.tokens, submission.request.data.max_tokens
    said = "estimated from the file sizes"
    if budget and tokens is not None and budget < tokens:
        tokens, said = budget, "data.max_tokens"
    return Workload(task, submission.request.hyperparameters, tokens, said, prices.measured)


def _acceptance(
    submission: Submission, spec: ModelSpec, stage: DeployedStage, checklist: Checklist
) -> Acceptance | None:
    upload, url = submission.upload, support(spec.model_id).family.licence_url
    if url is None:
        checklist.passed("licence", "no licence to accept")
        return None
    licence = spec.hosting_eula_key or ""
    where = public_address(stage.aws_region, licence)
    accepted = Acceptance(by=f"stage {stage.stage}", at=submission.planned_at, licence_key=licence)
    if submission.request.accept_eula:
        accepted = Acceptance(
            by=f"s3://{upload.bucket}/{upload.key}",
            at=submission.planned_at,
            licence_key=licence,
            version_id=upload.version_id,
            requester=upload.requester,
            request_id=upload.request_id,
        )
    elif not stage.accept_eula:
        checklist.found(
            "licence",
            Finding(
                Code.EULA_NOT_ACCEPTED,
                "accept_eula",
                f"The licence of {spec.model_id} is not accepted.",
                f'Read {url} (text: {where}), then accept it with "accept_eula": true in a run.json next to the data '
                "(`finetune submit --accept-eula` adds it), or deploy the stage with `-c accept_eula=true`.",
            ),
        )
        return None
    checklist.passed("licence", f"accepted by {accepted.in_words}: {where}")
    return accepted


def _task(
    submission: Submission, options: DataOptions, spec: ModelSpec, checklist: Checklist
) -> tuple[Task | None, Resolution | None]:
    """The requested task, else the detected one, and how it was resolved.

    Both are None if the data does not show the task; only the resolution is None if a Parquet file is not read yet.
    """
    model, asked = support(spec.model_id), options.task
    task = None if asked == "auto" else Task(asked)
    if task and checklist.attempt("task", lambda: model.require(task)) is None:
        return task, None
    if not submission.detections or (task is None and submission.parquet):
        if task:
            checklist.passed("task", f"{task} (set in run.json)")
        else:
            checklist.unknown("task", "detected when the data is read")
        return task, None
    resolution = resolve(
        submission.detections,
        # `_check_template` reports a template that does not match the task.
        options if asked in ("auto", Task.INSTRUCTION) else options.model_copy(update={"template": None}),
        supported=model.tasks,
    )
    if resolution.refusal:
        checklist.found("data", Finding(Code.DATASET_REFUSED, "", resolution.message, resolution.fix))
        return task, None
    settled = resolution.task
    if task or checklist.attempt("task", lambda: model.require(settled)):
        checklist.passed("task", f"{settled}: {resolution.why}")
    return settled, None if submission.parquet else resolution


def _data_options(submission: Submission, checklist: Checklist) -> DataOptions:
    """The options in run.json, with the template.json next to the data if run.json has no template.

    A template that cannot be used is a finding, and is treated as not set.
    """
    options = submission.request.data_options
    template, source = options.template, "template" if options.template else ""
    try:
        if template is None and submission.template_file is not None:
            template = read_template(submission.template_file)
        if template:
            template_columns(template)
    except FineTuningError as error:
        checklist.found("template", Finding(error.code, source, error.message, error.fix))
        template = None
    return options.model_copy(update={"template": template})


def _check_template(submission: Submission, template: Template | None, task: Task | None, checklist: Checklist) -> None:
    """The data must have the columns that the template names, and the task must use a template."""
    if template is None:
        return
    source = "template" if submission.request.template else ""
    named, columns = template_columns(template), submission.columns
    absent = sorted(set(named) - columns) if columns else []
    if absent:
        reason = f"The template names {naming(absent)}; the data's columns are {naming(sorted(columns))}."
        checklist.found("template", Finding(Code.TEMPLATE_INVALID, source, reason, TEMPLATE_FIX))
    elif task not in (Task.INSTRUCTION, None):
        reason = f"A template is used for instruction tuning only; the task is {task}."
        checklist.found(
            "template",
            Finding(Code.TEMPLATE_INVALID, source, reason, "Remove the template, or set task to instruction."),
        )
    else:
        checklist.passed("template", f"uses {', '.join(sorted(named))}")


def _check_that_it_trains(request: RunRequest, stage: DeployedStage, checklist: Checklist) -> None:
    if request.promote:
        checklist.found(
            "stage",
            Finding(
                Code.RUN_JSON_INVALID,
                "promote",
                "A run that promotes a model does not train, so it cannot have data.",
                f"Use `finetune promote {request.promote}`, or remove promote from run.json.",
            ),
        )
    elif not stage.training:
        checklist.found(
            "stage",
            Finding(
                Code.TRAINING_DISABLED,
                "",
                f"The stage {stage.stage} does not train models.",
                "Submit the data to a stage that trains (--stage), or deploy this one with `-c training=true`.",
            ),
        )


def _check_evaluation(request: RunRequest, checklist: Checklist) -> None:
    """`must_beat_base` needs held-out rows to compare the models on."""
    asked = request.evaluation
    if asked.must_beat_base and (asked.prompts == 0 or request.validation_fraction == 0):
        checklist.found(
            "evaluation",
            Finding(
                Code.RUN_JSON_INVALID,
                "evaluation.must_beat_base",
                "must_beat_base compares the models on held-out rows, but no held-out row would be used.",
                "Set evaluation.prompts to 1 or more and validation_fraction to more than 0, or remove must_beat_base.",
            ),
        )


def check_tags(request: RunRequest, checklist: Checklist) -> None:
    for key in request.tags:
        if key.lower().startswith(RESERVED_PREFIXES):
            reserved = ", ".join(RESERVED_PREFIXES)
            message = f"The tag {key!r} has a reserved prefix ({reserved})."
            checklist.found("tags", Finding(Code.RUN_JSON_INVALID, f"tags.{key}", message, "Use another key."))


def _compare_with_table(spec: ModelSpec, option: TrainingOption, checklist: Checklist) -> None:
    """Reports where the specification, which is used, differs from the catalogue."""
    table = support(spec.model_id)
    parameters = spec.hyperparameters_on(option.instance_type)
    pairs = [("training instance", spec.default_training_instance_type, table.training_instance_type)]
    for name, stated in (("max_input_length", table.input_length), ("per_device_train_batch_size", table.train_batch)):
        if name in parameters:
            default = parameters[name].default_text
            pairs.append((name, str(DEFAULT_LENGTH) if default == "-1" else default, str(stated)))
    differing = [f"{name} is {actual} by default, not {stated}" for name, actual, stated in pairs if actual != stated]
    known = f"{spec.model_id} {spec.version} ({spec.provenance})"
    checklist.passed(
        "model", known + (f"; differs from this project's catalogue: {', '.join(differing)}" if differing else "")
    )
