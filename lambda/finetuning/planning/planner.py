"""Judges what a user handed in, and settles the plan.

`make_plan` never stops at the first thing that is wrong. What it could not know (rows, tokens, the task of a Parquet
file) `complete` adds once the dataset is prepared, and judges again.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal

from finetuning.datasets.detection import Detection, Framing, resolve
from finetuning.datasets.row_errors import FIXES
from finetuning.datasets.templates import TEMPLATE_FIX, Template, read_template, template_columns
from finetuning.errors import Code, Finding, FineTuningError, RunRefused
from finetuning.jumpstart.assumptions import Price
from finetuning.jumpstart.catalogue import CATALOGUE, Task, nearest, support
from finetuning.jumpstart.hyperparameters import merge
from finetuning.jumpstart.spec import ModelSpec, cache_bucket
from finetuning.planning.checklist import Checklist
from finetuning.planning.estimate import estimate, tokens_in
from finetuning.runs.expiry import Limit
from finetuning.runs.names import MAX_NAME_LENGTH
from finetuning.runs.outcomes import last_attempt
from finetuning.runs.plan import (
    Acceptance,
    Autoscaling,
    DataFile,
    DatasetSummary,
    EndpointPlan,
    Estimate,
    EvaluationPlan,
    RunPlan,
    TrainingOption,
    TrainingPlan,
    UploadedObject,
)
from finetuning.runs.run_json import (
    HELD_OUT,
    MAX_FALLBACKS,
    RESERVED_TAGS,
    DataCaptureRequest,
    EndpointRequest,
    RunRequest,
)
from finetuning.runs.uploads import Upload

LookUp = Callable[[str, Literal["training", "hosting"]], Price | None]
"""Looks up the price of an instance type for a use."""

ReadSpec = Callable[[str, str | None], ModelSpec]
"""Reads a model's facts, in the version given or the newest; raises `FineTuningError`."""

ENDPOINT_PROVISIONING_SECONDS = 1800
"""On top of download and start-up: how long SageMaker may take to find and start an endpoint's instances."""

DEFAULT_ENDPOINT_TIMEOUT = 3600
"""Seconds for download and for start-up each, where the specification names none: the most SageMaker allows."""

SPLIT_RATIO = "validation_split_ratio"
FALLBACKS = "fallbacks"


@dataclass(frozen=True)
class StageDefaults:
    """What the stage settles for every run: defaults, and limits no run.json can raise."""

    stage: str
    prefix: str
    region: str
    default_model: str
    accept_eula: bool
    max_runtime_hours: float
    max_cost_usd: float | None
    endpoint_ttl_hours: Limit
    endpoint_idle_minutes: Limit
    training_instance_types: tuple[str, ...] = ("*",)
    """Patterns; permissions allow no other."""


@dataclass(frozen=True)
class Submission:
    """What a user handed in, and when it was planned. `detections`: what each file is, by its first bytes."""

    upload: Upload
    request: RunRequest
    planned_at: datetime
    files: tuple[DataFile, ...] = ()
    detections: tuple[Detection, ...] = ()
    template_file: bytes | None = None
    """The upload's template.json."""

    @property
    def parquet(self) -> bool:
        return any(detection.framing is Framing.PARQUET for detection in self.detections)

    @property
    def has_template(self) -> bool:
        return self.request.template is not None or self.template_file is not None

    @property
    def columns(self) -> set[str]:
        """Of the files' first rows; empty where they have none, or are not known yet."""
        return {column for detection in self.detections for column in detection.columns}

    @property
    def tokens(self) -> int | None:
        return tokens_in({file.key: file.size for file in self.files}) if self.files else None


@dataclass(frozen=True)
class Prices:
    """By instance type. A type that is missing has no known price."""

    training: Mapping[str, Price]
    hosting: Mapping[str, Price]


@dataclass(frozen=True)
class _Limits:
    """What a training may take: hours for the run, USD where there is a budget."""

    hours: float
    usd: float | None


@dataclass(frozen=True)
class _Workload:
    """What is to be trained; `tokens` of one epoch."""

    task: Task | None
    hyperparameters: Mapping[str, Any]
    tokens: int | None
    tokens_from: str


def training_types(request: RunRequest, spec: ModelSpec) -> list[str]:
    """The instance types to judge, the preferred one first, each once: those asked for, else all of the model's."""
    first = request.training.instance_type or spec.default_training_instance_type
    chosen = request.training.fallback_instance_types
    return list(dict.fromkeys([first, *(spec.supported_training_instance_types if chosen is None else chosen)]))


def endpoint_type(request: RunRequest, spec: ModelSpec) -> str:
    return request.endpoint.instance_type or spec.default_inference_instance_type


def look_up_prices(request: RunRequest, spec: ModelSpec, look_up: LookUp) -> Prices:
    """The prices a plan may need: of the types asked for, and of the model's own, which stand in for refused ones."""
    training = {*training_types(request, spec), spec.default_training_instance_type}
    hosting = {endpoint_type(request, spec), spec.default_inference_instance_type}
    return Prices(
        training={t: price for t in sorted(training) if (price := look_up(t, "training"))},
        hosting={t: price for t in sorted(hosting) if (price := look_up(t, "hosting"))},
    )


def settle_model(
    request: RunRequest, stage: StageDefaults, read_spec: ReadSpec, checklist: Checklist
) -> ModelSpec | None:
    """The facts of the model asked for, or None where none can be read.

    For an unknown model or version there is a finding, and the rest is judged on the model most likely meant.
    """
    model_id, version = request.model or stage.default_model, request.model_version
    if checklist.attempt("model", lambda: support(model_id)) is None:
        model_id, version = nearest(model_id, CATALOGUE) or stage.default_model, None
    spec = checklist.attempt("model", lambda: read_spec(model_id, version))
    if spec is None and version is not None:
        with suppress(FineTuningError):  # what is wrong with the version asked for has been said
            return read_spec(model_id, None)
    if spec is not None and not spec.fine_tuning_supported:
        message = f"JumpStart's document of {spec.model_id} {spec.version} says that it cannot be fine-tuned."
        fix = "Pin another version with model_version, or choose another model."
        checklist.found("model", Finding(Code.MODEL_SPEC_UNUSABLE, "model", message, fix))
    return spec


def make_plan(
    submission: Submission, spec: ModelSpec, stage: StageDefaults, prices: Prices, checklist: Checklist
) -> RunPlan:
    """Judges the submission and settles the plan; what is wrong goes into `checklist`, beside what was found before.

    Beside findings the plan is a draft, with the model's defaults in place of what was refused, so that later checks
    still have something to judge: only a plan without findings is to be used.
    """
    request, upload = submission.request, submission.upload
    accepted = _acceptance(submission, spec, stage, checklist)
    task = _task(submission, spec, checklist)
    limits = _limits(request, stage, checklist)
    chosen = request.training.fallback_instance_types is not None
    options = _options(
        spec,
        _trainable(training_types(request, spec), spec, stage, checklist, chosen=chosen),
        _Workload(task, request.hyperparameters, submission.tokens, "from the files' size, until they are read"),
        limits,
        prices.training,
        checklist,
        chosen=chosen,
    )
    own_prompts = request.evaluation.prompts
    plan = RunPlan(
        run_id=upload.run_id,
        name=upload.name,
        upload=UploadedObject(bucket=upload.bucket, key=upload.key, version_id=upload.version_id),
        data_files=list(submission.files),
        parquet=submission.parquet,
        model_id=spec.model_id,
        model_version=spec.version,
        model_provenance=spec.provenance,
        accept_eula=accepted is not None,
        accepted=accepted,
        task=task,
        template=_template(submission, task, checklist),
        requested_hyperparameters=dict(request.hyperparameters),
        training=TrainingPlan(
            options=options,
            max_runtime_hours=limits.hours,
            max_cost_usd=limits.usd,
            capacity_wait_hours=request.training.capacity_wait_hours,
            fallbacks_chosen=chosen,
        ),
        endpoint=_endpoint(request, spec, stage, prices.hosting, checklist),
        evaluation=EvaluationPlan(
            held_out=own_prompts if isinstance(own_prompts, int) else HELD_OUT,
            prompts=own_prompts if isinstance(own_prompts, list) else [],
            compare_with_base=request.endpoint.deploy
            and (request.evaluation.compare_with_base or request.evaluation.must_beat_base),
            must_beat_base=request.endpoint.deploy and request.evaluation.must_beat_base,
        ),
        validation_fraction=request.validation_fraction,
        max_error_fraction=request.max_error_fraction,
        repair=request.repair,
        tags=request.tags,
        approval=request.approval and request.endpoint.deploy,
    )
    _check_evaluation(request, checklist)
    _check_names(plan, stage.prefix, checklist)
    _check_tags(request, checklist)
    _compare_with_table(spec, options[0], checklist)
    return plan.model_copy(update={"checks": checklist.checks})


def complete(plan: RunPlan, spec: ModelSpec, task_name: str, dataset: DatasetSummary) -> RunPlan:
    """The plan with the dataset's facts, its hyperparameters and predictions made anew. `task_name`: of a `Task`.

    Raises `RunRefused` with all findings where the run, now that its size and task are known, does not hold.
    """
    checklist, task = Checklist(), Task(task_name)
    checklist.attempt("task", lambda: support(spec.model_id).require(task))
    requested = plan.requested_hyperparameters
    if dataset.validation_rows == 0 and any(p.name == SPLIT_RATIO for p in spec.hyperparameters):
        # There is no validation channel then, and the script would split off rows of its own.
        requested = {SPLIT_RATIO: 0, **requested}
    options = _options(
        spec,
        plan.training.instance_types,
        _Workload(task, requested, dataset.train_tokens, "estimated from the prepared rows"),
        _Limits(plan.training.max_runtime_hours, plan.training.max_cost_usd),
        {o.instance_type: o.price for o in plan.training.options if o.price},
        checklist,
        chosen=plan.training.fallbacks_chosen,
    )
    if checklist.findings:
        raise RunRefused(checklist.findings)
    training = plan.training.model_copy(update={"options": options})
    left_out = [check for check in checklist.checks if check.check == FALLBACKS]
    return plan.model_copy(
        update={"task": task, "dataset": dataset, "training": training, "checks": [*plan.checks, *left_out]}
    )


def _acceptance(
    submission: Submission, spec: ModelSpec, stage: StageDefaults, checklist: Checklist
) -> Acceptance | None:
    upload = submission.upload
    licence = spec.hosting_eula_key or ""
    where = f"s3://{cache_bucket(stage.region)}/{licence}"
    if submission.request.accept_eula:
        by = f"s3://{upload.bucket}/{upload.key}"
    elif stage.accept_eula:
        by = f"stage {stage.stage}"
    else:
        checklist.found(
            "licence",
            Finding(
                Code.EULA_NOT_ACCEPTED,
                "accept_eula",
                f"The licence of {spec.model_id} is not accepted.",
                f'Read {where}, then set "accept_eula": true in a run.json beside the data, or deploy the stage with '
                "`-c accept_eula=true`.",
            ),
        )
        return None
    checklist.passed("licence", f"accepted by {by}: {where}")
    return Acceptance(by=by, at=submission.planned_at, licence_key=licence)


def _task(submission: Submission, spec: ModelSpec, checklist: Checklist) -> Task | None:
    """The task asked for, else the one the data shows; None where it cannot be seen yet."""
    model, asked = support(spec.model_id), submission.request.task
    task = None if asked == "auto" else Task(asked)
    if task and checklist.attempt("task", lambda: model.require(task)) is None:
        return task
    if not submission.detections or (task is None and submission.parquet):
        if task:
            checklist.passed("task", f"{task}, as asked")
        else:
            checklist.unknown("task", "told by the data when it is read")
        return task
    resolution = resolve(
        [(file.key.rpartition("/")[2], d) for file, d in zip(submission.files, submission.detections, strict=True)],
        asked,
        has_template=submission.has_template and asked in ("auto", Task.INSTRUCTION),
        supported=model.tasks,
    )
    if resolution.refusal:
        refusal = Finding(Code.DATASET_REFUSED, "", resolution.message, FIXES[resolution.refusal])
        checklist.found("data", refusal)
        return task
    settled = Task(resolution.task)
    if task or checklist.attempt("task", lambda: model.require(settled)):
        checklist.passed("task", f"{settled}: {resolution.why}")
    return settled


def _template(submission: Submission, task: Task | None, checklist: Checklist) -> Template | None:
    """run.json's template, else the template.json beside the data; None: the data's own, or the default."""
    given = submission.request.template
    source = "template" if given else ""
    try:
        if given:
            template = given.texts
        elif submission.template_file is not None:
            template = read_template(submission.template_file)
        else:
            return None
        named = template_columns(template)
    except FineTuningError as error:
        checklist.found("template", Finding(error.code, source, error.message, error.fix))
        return None
    columns = submission.columns
    absent = sorted(set(named) - columns) if columns else []
    if absent:
        reason = f"The template names {', '.join(absent)}; the data's columns are {', '.join(sorted(columns))}."
        checklist.found("template", Finding(Code.TEMPLATE_INVALID, source, reason, TEMPLATE_FIX))
    elif task not in (Task.INSTRUCTION, None):
        reason = f"A template is for instruction tuning; the task is {task}."
        checklist.found("template", Finding(Code.TEMPLATE_INVALID, source, reason, "Leave one of the two out."))
    else:
        checklist.passed("template", f"uses {', '.join(sorted(named))}")
    return template


def _limits(request: RunRequest, stage: StageDefaults, checklist: Checklist) -> _Limits:
    hours, usd = request.training.max_runtime_hours, request.training.max_cost_usd
    if hours is not None and hours > stage.max_runtime_hours:
        checklist.found(
            "time and cost",
            Finding(
                Code.OUT_OF_TIME,
                "training.max_runtime_hours",
                f"{hours:g} hours are more than the stage {stage.stage} allows, {stage.max_runtime_hours:g}.",
                "Ask for less, or raise the stage's limit and deploy it again.",
            ),
        )
    if usd is not None and stage.max_cost_usd is not None and usd > stage.max_cost_usd:
        checklist.found(
            "time and cost",
            Finding(
                Code.OVER_BUDGET,
                "training.max_cost_usd",
                f"{usd:.2f} USD are more than the stage {stage.stage} allows, {stage.max_cost_usd:.2f}.",
                "Ask for less, or raise the stage's limit and deploy it again.",
            ),
        )
    budgets = [budget for budget in (usd, stage.max_cost_usd) if budget is not None]
    return _Limits(min(hours or stage.max_runtime_hours, stage.max_runtime_hours), min(budgets, default=None))


def _trainable(
    instance_types: list[str], spec: ModelSpec, stage: StageDefaults, checklist: Checklist, *, chosen: bool
) -> list[str]:
    """Those the model can be trained on in the stage, a finding for each other that was asked for; the model's default
    where none is left.
    """
    good = []
    for position, instance_type in enumerate(instance_types):
        try:
            spec.training_image(instance_type, stage.region)
            spec.gated_key(instance_type)
            _require_allowed(instance_type, stage)
        except FineTuningError as error:
            where = error.field if position == 0 else "training.fallback_instance_types"
            if position and not chosen:
                drop_fallback(instance_type, error.message, checklist)
            else:
                checklist.found("training instance", Finding(error.code, where, error.message, error.fix))
        else:
            good.append(instance_type)
    return good or [spec.default_training_instance_type]


def _require_allowed(instance_type: str, stage: StageDefaults) -> None:
    """Raises `FineTuningError` for a type that the stage's permissions would refuse when the job is to start."""
    if not any(fnmatchcase(instance_type, pattern) for pattern in stage.training_instance_types):
        raise FineTuningError(
            Code.INSTANCE_TYPE_UNSUPPORTED,
            f"The stage {stage.stage} does not train on {instance_type}: it allows "
            f"{', '.join(stage.training_instance_types)}.",
            "Choose another type, or add it to the stage's training_instance_types and deploy it again.",
            field="training.instance_type",
        )


def drop_fallback(instance_type: str, why: str, checklist: Checklist) -> None:
    """Says of a fallback that nobody asked for why it is not one."""
    checklist.passed(FALLBACKS, f"{instance_type} is left out: {why}")


def _options(
    spec: ModelSpec,
    instance_types: Sequence[str],
    work: _Workload,
    limits: _Limits,
    prices: Mapping[str, Price],
    checklist: Checklist,
    *,
    chosen: bool,
) -> list[TrainingOption]:
    """An option per instance type; findings for hyperparameters, and for time and money that do not suffice.

    Of fallbacks that nobody has chosen those that do not suffice are left out, and the cheapest come first.
    """
    options = []
    found: set[Finding] = set()
    for position, instance_type in enumerate(instance_types):
        hyperparameters, findings = merge(spec, instance_type, work.task, work.hyperparameters)
        asked = hyperparameters.get("epoch", "")
        epochs = int(asked) if asked.isdecimal() else 1  # a model may have no such number
        price = prices.get(instance_type)
        predicted = estimate(spec.model_id, instance_type, work.tokens, work.tokens_from, epochs, price)
        seconds = min(int(limits.hours * 3600), spec.estimator_kwargs.max_run)
        limits_broken = list(_limit_findings(predicted, seconds, limits.usd, instance_type, fallback=position > 0))
        if price and limits.usd is not None:
            seconds = min(seconds, math.floor(limits.usd / price.usd_per_hour * 3600))
        new = [finding for finding in findings if finding not in found]
        if position and not chosen and (new or limits_broken):
            drop_fallback(instance_type, [*new, *limits_broken][0].message, checklist)
            continue
        options.append(
            TrainingOption(
                instance_type=instance_type,
                hyperparameters=hyperparameters,
                max_runtime_seconds=max(seconds, 1),
                estimate=predicted,
                price=price,
            )
        )
        checklist.found("hyperparameters", *new)
        checklist.found("time and cost", *limits_broken)
        found |= set(findings)
        if not limits_broken:
            checklist.passed(
                "time and cost", f"{instance_type}: {_in_words(predicted)}; stopped after {seconds / 3600:.1f} h"
            )
    if not found:
        checklist.passed(
            "hyperparameters",
            f"{len(options[0].hyperparameters)} settled, {len(work.hyperparameters)} of them asked for",
        )
    if not chosen:
        options = [options[0], *sorted(options[1:], key=_by_price)[:MAX_FALLBACKS]]
    checklist.passed("training instance", ", then ".join(option.instance_type for option in options))
    return options


def _by_price(option: TrainingOption) -> tuple[float, float]:
    """What the training is predicted to cost; where that is not known, last, and by the hour."""
    predicted = option.estimate
    return (
        math.inf if predicted.usd is None else predicted.usd,
        math.inf if predicted.usd_per_hour is None else predicted.usd_per_hour,
    )


def _limit_findings(
    predicted: Estimate, seconds: int, budget: float | None, instance_type: str, *, fallback: bool
) -> Iterator[Finding]:
    """A job that would be cut before it ends leaves no model: better refused than started."""
    where = "training.fallback_instance_types" if fallback else "training.max_cost_usd"
    if budget is not None and predicted.usd_per_hour is None:
        yield Finding(
            Code.PRICE_UNKNOWN,
            where,
            f"The budget of {budget:.2f} USD cannot be kept: no price of {instance_type} is known.",
            "Choose another training.instance_type, or leave training.max_cost_usd out.",
        )
    elif budget is not None and predicted.usd is not None and predicted.usd > budget:
        yield Finding(
            Code.OVER_BUDGET,
            where,
            f"Training on {instance_type} is predicted to cost {predicted.usd:.2f} USD, more than the budget of "
            f"{budget:.2f} USD ({_in_words(predicted)}).",
            "Raise training.max_cost_usd, train fewer epochs or rows, or choose a cheaper training.instance_type.",
        )
    if predicted.seconds is not None and predicted.seconds > seconds:
        yield Finding(
            Code.OUT_OF_TIME,
            "training.fallback_instance_types" if fallback else "training.max_runtime_hours",
            f"Training on {instance_type} is predicted to take {predicted.seconds / 3600:.1f} hours and would be "
            f"stopped after {seconds / 3600:.1f}, without a model.",
            "Raise training.max_runtime_hours, train fewer epochs or rows, or choose a faster training.instance_type.",
        )


def _in_words(predicted: Estimate) -> str:
    about = "about" if predicted.tokens is not None else "at least"
    hours = "unknown time" if predicted.seconds is None else f"{about} {predicted.seconds / 3600:.1f} h"
    usd = "unknown cost" if predicted.usd is None else f"{about} {predicted.usd:.2f} USD"
    return f"{hours}, {usd}, assuming {'; '.join(predicted.assumptions)}"


def _endpoint(
    request: RunRequest, spec: ModelSpec, stage: StageDefaults, prices: Mapping[str, Price], checklist: Checklist
) -> EndpointPlan:
    asked = request.endpoint
    instance_type = endpoint_type(request, spec)
    if asked.deploy:
        image = checklist.attempt("endpoint instance", lambda: spec.hosting_image(instance_type, stage.region))
        price = prices.get(instance_type)
        hourly = (
            f"{price.usd_per_hour * asked.instance_count:.2f} USD an hour ({price.source})"
            if price
            else "price not known"
        )
        if image:
            checklist.passed("endpoint instance", f"{asked.instance_count} × {instance_type}, {hourly}")
        else:
            instance_type = spec.default_inference_instance_type
    price = prices.get(instance_type)
    timeouts = spec.deploy_kwargs
    capture = asked.data_capture
    return EndpointPlan(
        deploy=asked.deploy,
        name=asked.name,
        instance_type=instance_type,
        instance_count=asked.instance_count,
        ttl_hours=asked.ttl_hours or stage.endpoint_ttl_hours,
        idle_minutes=asked.idle_minutes or stage.endpoint_idle_minutes,
        timeout_seconds=ENDPOINT_PROVISIONING_SECONDS
        + (timeouts.model_data_download_timeout or DEFAULT_ENDPOINT_TIMEOUT)
        + (timeouts.container_startup_health_check_timeout or DEFAULT_ENDPOINT_TIMEOUT),
        usd_per_hour=price.usd_per_hour if price else None,
        autoscaling=_autoscaling(asked, checklist),
        data_capture_percentage=capture.percentage if isinstance(capture, DataCaptureRequest) else 100 * capture,
    )


def _autoscaling(asked: EndpointRequest, checklist: Checklist) -> Autoscaling | None:
    wish = asked.autoscaling
    if wish is None:
        return None
    if not wish.min_instances <= asked.instance_count <= wish.max_instances:
        checklist.found(
            "endpoint instance",
            Finding(
                Code.RUN_JSON_INVALID,
                "endpoint.autoscaling",
                f"The endpoint starts with {asked.instance_count} instances, which is not between min_instances "
                f"({wish.min_instances}) and max_instances ({wish.max_instances}).",
                "Let min_instances <= instance_count <= max_instances.",
            ),
        )
    return Autoscaling(**wish.model_dump())


def _check_evaluation(request: RunRequest, checklist: Checklist) -> None:
    """A comparison that decides needs answers to compare with: held-out rows."""
    asked = request.evaluation
    if asked.must_beat_base and (asked.prompts == 0 or request.validation_fraction == 0):
        checklist.found(
            "evaluation",
            Finding(
                Code.RUN_JSON_INVALID,
                "evaluation.must_beat_base",
                "Whether the tuned model beats the base model is judged on held-out rows, and none would be asked.",
                "Let evaluation.prompts be 1 or more and validation_fraction more than 0, or leave must_beat_base out.",
            ),
        )


def _check_names(plan: RunPlan, prefix: str, checklist: Checklist) -> None:
    names, training = plan.names(prefix), plan.training
    last = last_attempt(len(training.options), training.capacity_wait_hours)
    every = {names.training_job(last), names.model, names.endpoint, names.base, names.candidate}
    too_long = sorted(name for name in every if len(name) > MAX_NAME_LENGTH)
    if too_long:
        checklist.found(
            "names",
            Finding(
                Code.RUN_JSON_INVALID,
                "endpoint.name" if too_long == [names.endpoint] else "",
                f"{too_long[0]} has {len(too_long[0])} characters; SageMaker allows {MAX_NAME_LENGTH}.",
                "Choose a shorter endpoint.name, or a stage with a shorter name.",
            ),
        )
    else:
        checklist.passed("names", f"{names.training_job(0)}, {names.endpoint}")


def _check_tags(request: RunRequest, checklist: Checklist) -> None:
    for key in request.tags:
        if key.lower().startswith(RESERVED_TAGS):
            reserved = ", ".join(RESERVED_TAGS)
            message = f"The tag {key} cannot be set: names that begin with {reserved} are taken."
            checklist.found("tags", Finding(Code.RUN_JSON_INVALID, f"tags.{key}", message, "Name the tag otherwise."))


def _compare_with_table(spec: ModelSpec, option: TrainingOption, checklist: Checklist) -> None:
    """Says where the specification, which wins, differs from the catalogue's table."""
    table = support(spec.model_id)
    parameters = spec.hyperparameters_on(option.instance_type)
    pairs = [("training instance", spec.default_training_instance_type, table.training_instance_type)]
    for name, stated in (("max_input_length", table.input_length), ("per_device_train_batch_size", table.train_batch)):
        if name in parameters:
            pairs.append((name, parameters[name].default_text, str(stated)))
    differing = [f"{name} is {actual} by default, not {stated}" for name, actual, stated in pairs if actual != stated]
    known = f"{spec.model_id} {spec.version} ({spec.provenance})"
    checklist.passed(
        "model", known + (f"; unlike this project's table of models, {', '.join(differing)}" if differing else "")
    )
