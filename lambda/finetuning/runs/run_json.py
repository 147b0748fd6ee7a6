"""run.json: what a user asks of a run. Every field is optional; docs/run.schema.json is made from these classes."""

from typing import Annotated, Any, get_type_hints

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails
from typing_extensions import is_typeddict

from finetuning.datasets.options import DataOptions
from finetuning.errors import Code, Finding
from finetuning.jumpstart.catalogue import nearest
from finetuning.settings import LONGEST_RUNTIME_HOURS, IdleMinutes, TtlHours

Path = tuple[str | int, ...]

InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$", examples=["ml.g5.12xlarge"])]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$", max_length=40)]
"""40 and the longest stage's prefix stay within the 63 characters SageMaker allows an endpoint's name."""
TagText = r"^[\w\s.:/=+\-@]*$"
MAX_FALLBACKS = 5
MAX_CAPACITY_WAIT_HOURS = 24
HELD_OUT = 5
"""Held-out prompts asked where run.json does not say how many: enough to see a difference."""
MAX_PROMPTS = 14
"""Held-out ones and a user's own together. They are asked one after the other, and SageMaker gives a model 60 seconds
for each: so many fit into the 15 minutes a function has, with one to spare."""


class _Part(BaseModel):
    """Values are taken as they are written: "true" is no boolean, and accepting a licence is not guessed at."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class TrainingRequest(_Part):
    """Where the model is trained and what that may take."""

    instance_type: InstanceType | None = None
    """Default: the model's own."""
    fallback_instance_types: list[InstanceType] | None = Field(default=None, max_length=MAX_FALLBACKS)
    """Tried in this order when AWS has no capacity for the first; an empty list: nothing else is. Default: the model's
    other types that fit the limits and the account, the cheapest first.
    """
    capacity_wait_hours: float = Field(default=1, ge=0, le=MAX_CAPACITY_WAIT_HOURS)
    """How long the types are tried over and over; each is tried once at least."""
    max_runtime_hours: float | None = Field(default=None, gt=0, le=LONGEST_RUNTIME_HOURS)
    """Default: the stage's. A run predicted to take longer is refused; a job cut by it leaves no model."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    """Of the training. A run predicted to cost more is refused; the job's time limit follows from it."""


class AutoscalingRequest(_Part):
    """Lets the number of instances follow the traffic."""

    min_instances: int = Field(default=1, ge=1, le=100)
    max_instances: int = Field(ge=1, le=100)
    invocations_per_instance: int = Field(default=60, ge=1)
    """Calls a minute that each instance should get. Long answers take seconds: measure yours before raising it."""


class DataCaptureRequest(_Part):
    """Keeps calls and answers."""

    percentage: int = Field(default=100, ge=1, le=100)
    """Of the calls."""


class EndpointRequest(_Part):
    """The endpoint that answers with the tuned model."""

    deploy: bool = True
    name: Name | None = None
    """Default: the run's. A later run with the same name replaces the model behind it without a gap."""
    instance_type: InstanceType | None = None
    """Default: the model's own."""
    instance_count: int = Field(default=1, ge=1, le=100)
    ttl_hours: TtlHours | None = None
    """Hours after which the endpoint is deleted, or "never"; the tuned model stays. Default: the stage's."""
    idle_minutes: IdleMinutes | None = None
    """Minutes without a question after which the endpoint is deleted, or "never". Default: the stage's."""
    autoscaling: AutoscalingRequest | None = None
    """Default: the number of instances stays as it is."""
    data_capture: bool | DataCaptureRequest = False
    """Whether calls and answers are kept, encrypted, under the run's files."""


class EvaluationRequest(_Part):
    """What the tuned model is asked when it is up."""

    prompts: (
        Annotated[int, Field(ge=0, le=MAX_PROMPTS)] | Annotated[list[str], Field(max_length=MAX_PROMPTS - HELD_OUT)]
    ) = HELD_OUT
    """How many held-out prompts to ask, or prompts of your own to ask beside five held-out ones."""
    compare_with_base: bool = False
    """Also ask the untuned model, on an endpoint of its own that is deleted afterwards. It costs that endpoint's
    time.
    """
    must_beat_base: bool = False
    """Ask both on temporary endpoints first; a tuned model that is worse than the untuned one does not go live. Implies
    `compare_with_base`.
    """


class RunRequest(_Part, DataOptions):
    """A run.json."""

    model: str | None = Field(default=None, max_length=200)
    """JumpStart's model id. Default: the stage's."""
    model_version: str | None = Field(default=None, pattern=r"^\d+(\.\d+){0,3}$")
    """Default: the newest."""
    accept_eula: bool = False
    """Whether you accept the licence of the model. Without it nothing starts, unless the stage accepts it."""
    hyperparameters: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=100)
    """By name; `finetune models` and the model's page list them. Unset ones keep the model's defaults."""
    training: TrainingRequest = Field(default_factory=TrainingRequest)
    endpoint: EndpointRequest = Field(default_factory=EndpointRequest)
    evaluation: EvaluationRequest = Field(default_factory=EvaluationRequest)
    approval: bool = False
    """Whether a person is asked before the model is deployed: `finetune approve`, or `finetune reject`."""
    tags: dict[
        Annotated[str, Field(min_length=1, max_length=128, pattern=TagText)],
        Annotated[str, Field(max_length=256, pattern=TagText)],
    ] = Field(default_factory=dict, max_length=30)
    """Put on everything the run makes."""

    @property
    def data_options(self) -> DataOptions:
        return DataOptions(**{name: getattr(self, name) for name in DataOptions.model_fields})


def read_request(body: bytes) -> tuple[RunRequest, list[Finding]]:
    """The request as far as it can be read, and a finding for each field that cannot.

    A refused field counts as not given, so that the checks that follow can still judge the rest.
    """
    try:
        document = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        return RunRequest(), [
            _finding("", f"run.json is not JSON: {error}.", "Correct it; any JSON checker shows where.")
        ]
    if not isinstance(document, dict):
        return RunRequest(), [
            _finding("", "run.json must hold an object: {…}.", 'The smallest is {"accept_eula": true}.')
        ]
    findings: list[Finding] = []
    while True:
        try:
            return RunRequest.model_validate(document), findings
        except ValidationError as error:
            problems: dict[Path, list[ErrorDetails]] = {}
            for problem in error.errors():
                problems.setdefault(_path_in(document, problem["loc"]), []).append(problem)
            findings += [_explain(path, about_one_field) for path, about_one_field in problems.items()]
            for path in sorted(problems, reverse=True, key=len):
                _remove(document, path)


def run_schema() -> dict[str, Any]:
    """The JSON Schema of run.json. `python -m finetuning.runs.run_json > docs/run.schema.json` publishes it."""

    class Draft202012(GenerateJsonSchema):
        """Pydantic's schema with the dialect named, which editors want."""

        def generate(self, schema: Any, mode: Any = "validation") -> dict[str, Any]:
            return {"$schema": self.schema_dialect, **super().generate(schema, mode)}

    return RunRequest.model_json_schema(schema_generator=Draft202012)


def _explain(path: Path, problems: list[ErrorDetails]) -> Finding:
    """One finding for all that is said of one field: a field of several types gets a problem for each of them."""
    first = problems[0]
    field = ".".join(map(str, first["loc"] if first["type"] == "missing" else path))
    if first["type"] == "extra_forbidden":
        known = _fields_at(path[:-1])
        near = nearest(str(path[-1]), known)
        return _finding(
            field,
            f"run.json has a field {field!r} that means nothing.",
            f"Did you mean {near}?" if near else f"Known here: {', '.join(known)}.",
        )
    what = "name" if first["loc"][-1] == "[key]" else "value"
    reasons = dict.fromkeys(problem["msg"].replace("Input should be ", "it should be ") for problem in problems)
    return _finding(
        field,
        f"run.json: the {what} of {field} is refused: {' or '.join(reasons)}.",
        "docs/run.schema.json says what each field takes.",
    )


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    """Names of the fields of the part at the path: a model, or a dictionary with fixed keys."""
    fields = _fields_of(RunRequest)
    for step in path:
        annotation = fields[str(step)]
        options = [annotation, *getattr(annotation, "__args__", ())]
        fields = next(found for option in options if (found := _fields_of(option)))
    return list(fields)


def _fields_of(part: Any) -> dict[str, Any]:
    """The fields and their types; none for a type without fields."""
    if is_typeddict(part):
        return get_type_hints(part)
    is_model = isinstance(part, type) and issubclass(part, BaseModel)
    return {name: field.annotation for name, field in part.model_fields.items()} if is_model else {}


def _path_in(document: Any, location: Path) -> Path:
    """Where in the document pydantic's location lies: it adds names of union members and `[key]`. A list counts as
    one.
    """
    path: list[str | int] = []
    for step in location:
        if isinstance(document, dict) and step in document:
            path.append(step)
            document = document[step]
    return tuple(path)


def _remove(document: Any, path: Path) -> None:
    for step in path[:-1]:
        document = document[step]
    del document[path[-1]]


def _finding(field: str, message: str, fix: str) -> Finding:
    return Finding(Code.RUN_JSON_INVALID, field, message, fix)


if __name__ == "__main__":
    print(orjson.dumps(run_schema(), option=orjson.OPT_INDENT_2).decode())
