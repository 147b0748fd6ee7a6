"""plan.json: everything a run will do, decided before it costs anything."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, computed_field, model_validator

from finetuning.bedrock.judges import TokenPrice
from finetuning.datasets.formats import Detection, Format
from finetuning.datasets.options import DataOptions
from finetuning.datasets.resolution import Resolution
from finetuning.datasets.templates import Template
from finetuning.jumpstart.assumptions import Price
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.family import Family, Task
from finetuning.lazy_model import LazyModel
from finetuning.runs.endpoint_plan import EndpointPlan, PlanPart
from finetuning.runs.layout import RUNS
from finetuning.runs.names import Names
from finetuning.runs.status import Check
from finetuning.runs.uploads import Upload

MAX_PREFERENCES = 5
"""Instance types of one training job, by SageMaker's service model."""


class UploadedObject(PlanPart):
    """The object whose upload started the run."""

    bucket: str
    key: str
    version_id: str


class DataFile(PlanPart):
    """A data file of the upload. Its version is pinned, so that a later upload changes nothing. Size in bytes.

    `detection`: by PlanRun; for a Parquet file by ReframeParquet, from its rows. Plans of earlier versions have none.
    """

    key: str
    version_id: str
    size: int
    etag: str
    detection: Detection | None = None

    @property
    def name(self) -> str:
        """Its path within the upload: `train/part-0.jsonl`."""
        return self.key.split("/", 2 if self.key.startswith(RUNS) else 1)[-1]

    @property
    def is_parquet(self) -> bool:
        return self.detection is not None and self.detection.format is Format.PARQUET


class Acceptance(PlanPart):
    """Who accepted the licence (run.json or the stage), when, and which text (a key in JumpStart's public bucket).

    `version_id`, `requester` and `request_id` are those of run.json's upload (see `Upload`). Empty if the stage did
    it, and in plans of earlier versions; the last two also if the event was lost.
    """

    by: str
    at: datetime
    licence_key: str
    version_id: str = ""
    requester: str = ""
    request_id: str = ""

    @property
    def who(self) -> str:
        """`account 123456789012`, or what accepted it if the caller is not known."""
        if not self.requester:
            return self.by
        return f"{'account' if self.requester.isdecimal() else 'service'} {self.requester}"

    @property
    def in_words(self) -> str:
        """With characters that tags may have: `account 123456789012 in S3 request N4N7 with s3://… version 3`."""
        accepted_by = f"{self.by} version {self.version_id}" if self.version_id else self.by
        return f"{self.who} in S3 request {self.request_id} with {accepted_by}" if self.requester else accepted_by


class DatasetSummary(PlanPart):
    """Size and digests of the prepared dataset. `train_tokens`: those that training reads, of every row as many as the
    model takes; `tokens_from`: how they were counted. `sha256`: of each file of the training channel, by its name;
    datasets of earlier versions have none.
    """

    train_rows: int
    validation_rows: int
    test_rows: int = 0
    train_tokens: int
    tokens_from: str = "estimated from the prepared rows"
    sha256: dict[str, str] = Field(default_factory=dict)


class Estimate(LazyModel):
    """Time and cost of the training on one instance type; a lower bound while `tokens` is None.

    `seconds` and `usd` are None if a figure they need is unknown. `assumptions` lists the figures used, in words;
    `tokens_from` and `speed_from` say where two of them are from (empty in plans of earlier versions).
    """

    model_config = ConfigDict(frozen=True)

    tokens: int | None = None
    tokens_from: str = ""
    speed_from: str = ""
    epochs: int = 1
    start_seconds: float = 0
    tokens_per_second: float | None = None
    seconds: int | None = None
    usd_per_hour: float | None = None
    usd: float | None = None
    assumptions: list[str] = Field(default_factory=list)


class Measurement(PlanPart):
    """What the last training of a model on an instance type took: a document in the stage's bucket, which later plans
    use.
    """

    tokens_per_second: float = Field(gt=0)
    start_seconds: float = Field(ge=0)
    run_id: str
    measured_at: datetime


class TrainingOption(PlanPart):
    """Training on one instance type: hyperparameters, time limit of the job, estimate.

    Options with the same `request_key` differ in the type alone. Plans of earlier versions have none.
    """

    instance_type: str
    request_key: str = ""
    hyperparameters: dict[str, str]
    max_runtime_seconds: int
    estimate: Estimate
    price: Price | None
    measured: Measurement | None = None
    """What the estimate is made from, if an earlier run was measured."""


class TrainingPlan(PlanPart):
    """The first option is preferred. If AWS has no capacity the others are tried in order, and then all again until
    `capacity_wait_hours` have passed. `fallbacks_chosen`: run.json named the others. `training_plan_arn`: bought
    capacity for the first option.
    """

    options: list[TrainingOption] = Field(min_length=1)
    max_runtime_hours: float
    max_cost_usd: float | None
    capacity_wait_hours: float = 0
    fallbacks_chosen: bool = True
    training_plan_arn: str | None = None

    @property
    def groups(self) -> list[list[TrainingOption]]:
        """The options by attempt: neighbours whose request is the same are preferences of one job.

        A job has one maximum run time: the shortest of its types. A type that could run longer in a job of its own
        joins only if half of that is expected to suffice.
        """
        groups: list[list[TrainingOption]] = []
        for option in self.options:
            if groups and self._join(groups[-1], option):
                groups[-1].append(option)
            else:
                groups.append([option])
        return groups

    def _join(self, group: list[TrainingOption], option: TrainingOption) -> bool:
        together = [*group, option]
        shortest = min(each.max_runtime_seconds for each in together)
        return (
            len(together) <= MAX_PREFERENCES
            and bool(option.request_key)
            and option.request_key == group[0].request_key
            and not (self.training_plan_arn and group[0] is self.options[0])
            and all(
                each.max_runtime_seconds == shortest or 2 * (each.estimate.seconds or shortest) <= shortest
                for each in together
            )
        )

    def group(self, attempt: int) -> list[TrainingOption]:
        """The options of an attempt; after the last group the first is tried again."""
        groups = self.groups
        return groups[attempt % len(groups)]

    def option_on(self, instance_type: str) -> TrainingOption | None:
        return next((option for option in self.options if option.instance_type == instance_type), None)

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form; mypy has no rule for it
    @property
    def instance_types(self) -> list[str]:
        return [option.instance_type for option in self.options]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def max_runtime_seconds(self) -> int:
        return self.options[0].max_runtime_seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def estimate(self) -> Estimate:
        return self.options[0].estimate


def in_words(group: list[TrainingOption]) -> str:
    """The instance types of one job."""
    return " or ".join(option.instance_type for option in group)


class JudgePlan(PlanPart):
    """The model in Bedrock that judges the answers. `price`: None if it is not known."""

    model: str
    price: TokenPrice | None = None


class EvaluationEstimate(PlanPart):
    """What the evaluation takes: seconds until both models have answered, and USD of the endpoints that stand for it
    alone. `usd_at_most`: if the run does not delete them, and the sweeper does after `hours_at_most`. None if a price
    is unknown. `import_usd`: of an imported model while it is asked, and at most; `judge_usd`: of a judge, and if each
    of its answers has to be asked for again; 0 if there is none.
    """

    prompts: int
    temporary_endpoints: int
    seconds: int
    usd: float | None
    hours_at_most: float
    usd_at_most: float | None
    import_usd: float | None = 0
    import_usd_at_most: float | None = 0
    judge_usd: float | None = 0
    judge_usd_at_most: float | None = 0
    assumptions: list[str]

    @property
    def total_usd(self) -> float | None:
        return _sum(self.usd, self.import_usd, self.judge_usd)

    @property
    def total_usd_at_most(self) -> float | None:
        return _sum(self.usd_at_most, self.import_usd_at_most, self.judge_usd_at_most)


def _sum(*amounts: float | None) -> float | None:
    """None if one is not known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


class EvaluationPlan(PlanPart):
    """The model is asked `held_out` prompts of the dataset, then the user's own `prompts`.

    `must_beat_base`: it is evaluated on a temporary endpoint first, and deployed only if it is not worse; if
    "helped", only if it is better.

    `compared_by_cost`: run.json leaves the comparison open; `not_compared`: why there is none. `estimate`: None without
    an endpoint, and in plans of earlier versions. `judge`: None if no model judges the answers.
    """

    held_out: int
    prompts: list[str]
    compare_with_base: bool
    compared_by_cost: bool = False
    not_compared: str = ""
    must_beat_base: bool | Literal["helped"] = False
    judge: JudgePlan | None = None
    estimate: EvaluationEstimate | None = None


class Promotion(PlanPart):
    """Where a model comes from that another account has trained. `model_package`: its version in the registry there.
    `artefact_digest`: of its files (`runs/release.py`). `scores`: of its evaluation there.
    """

    model_package: str
    run_id: str
    training_job: str
    artefact_digest: str
    scores: dict[str, str] = Field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """`arn:…/3 of the account 111122223333, evaluated there: verdict helped, rouge-l:tuned 0.533`"""
        scores = ", ".join(f"{name} {value}" for name, value in self.scores.items())
        evaluated = f"evaluated there: {scores}" if scores else "not evaluated there"
        return f"{self.model_package} of the account {self.model_package.split(':')[4]}, {evaluated}"


class RunPlan(PlanPart):
    """plan.json. `task` is None until the dataset is prepared if it cannot be seen from the upload."""

    run_id: str
    name: str
    upload: UploadedObject
    data_files: list[DataFile]
    model_id: str
    model_version: str
    model_provenance: str
    accept_eula: bool
    accepted: Acceptance | None
    task: Task | None
    data_options: DataOptions
    """The user's; the template may be from template.json. `task` above is what the run trains."""
    resolution: Resolution | None = None
    """What the files are trained for; None if that is not known before Parquet is read."""
    requested_hyperparameters: dict[str, Any]
    training: TrainingPlan
    endpoint: EndpointPlan
    evaluation: EvaluationPlan
    tags: dict[str, str]
    approval: bool = False
    promotion: Promotion | None = None
    """None for a run that trains its model itself."""
    dataset: DatasetSummary | None = None
    checks: list[Check] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_form(cls, document: Any) -> Any:
        """A plan.json of an earlier version has the options of the data beside the other fields."""
        if not isinstance(document, dict) or "data_options" in document:
            return document
        options = {name: document[name] for name in DataOptions.model_fields if document.get(name) is not None}
        return {**document, "data_options": options}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def parquet(self) -> bool:
        return any(file.is_parquet for file in self.data_files)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def template(self) -> Template | None:
        """What the rows of an instruction run are filled into: the user's template, or JumpStart's."""
        return self.data_options.template_for(self.task)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hyperparameters(self) -> dict[str, str]:
        """Those of the preferred instance type."""
        return self.training.options[0].hyperparameters

    @property
    def family(self) -> Family:
        """The model's family. Raises `FineTuningError` if the catalogue no longer has the model."""
        return support(self.model_id).family

    @property
    def uploader(self) -> str:
        """The name of the upload, as owner of an endpoint."""
        return Upload(self.upload.bucket, self.upload.key, self.upload.version_id).owner

    @property
    def owners(self) -> list[str]:
        """The upload, then the other uploads whose runs may replace the endpoint's model."""
        return self.endpoint.owners or [self.uploader]

    def names(self, prefix: str) -> Names:
        return Names(prefix, self.run_id, self.endpoint.name, self.endpoint.hosted_on)
