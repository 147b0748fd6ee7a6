"""run.json, the options of a run. Every field is optional; run.schema.json is generated from these classes."""

import ast
import inspect
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, cast, get_type_hints

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails
from typing_extensions import is_typeddict

from finetuning.datasets.encoding import BOM, wide_encoding
from finetuning.datasets.options import DataOptions
from finetuning.errors import Code, Finding
from finetuning.jumpstart.catalogue import nearest
from finetuning.lazy_model import LazyModel
from finetuning.runs.names import TEMPORARY
from finetuning.runs.ownership import MAX_OWNERS
from finetuning.settings import JUDGE_ID, LONGEST_RUNTIME_HOURS, IdleMinutes, TtlHours

Path = tuple[str | int, ...]

InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$", examples=["ml.g5.12xlarge"])]


def _not_temporary(name: str) -> str:
    if name.lower().endswith(TEMPORARY):
        raise ValueError(f"must not end in {' or '.join(TEMPORARY)}, which are for a run's temporary endpoints")
    return name


Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$", max_length=40), AfterValidator(_not_temporary)]
"""With the prefix of the longest stage name it stays within SageMaker's 63 characters for an endpoint name."""
TagText = r"^[\w\s.:/=+\-@]*$"
MAX_FALLBACKS = 5
MAX_ENDPOINT_FALLBACKS = 3
"""Each may take an hour to turn out to be without capacity; their polls must fit the history of an execution."""
MAX_CAPACITY_WAIT_HOURS = 24
HELD_OUT = 100
"""Held-out prompts asked by default, or all there are: enough to show a difference of about 0.1."""
MAX_BYTES = 256 << 10
"""Of a run.json; the largest one that makes sense has a few kilobytes."""
MAX_FINDINGS = 20
"""Fields that are refused one by one; the rest are counted."""
MAX_USD = 1_000_000
MAX_PROMPTS = 1_000
"""Held-out prompts. Answers that take as long as SageMaker allows are there in two hours."""
MAX_OWN_PROMPTS = 100


class _Part(LazyModel):
    """Types are strict: the text "true" is not a boolean, so no licence is accepted by a guess."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TrainingRequest(_Part):
    """Where the model is trained, and the limits on time and cost."""

    instance_type: InstanceType | None = None
    """Default: the model's own."""
    fallback_instance_types: list[InstanceType] | None = Field(default=None, max_length=MAX_FALLBACKS)
    """Instance types to try, in this order, if AWS has no capacity for the first one. An empty list means no other.
    Default: the model's other types that fit the limits and the account's quotas, cheapest first.
    """
    capacity_wait_hours: float = Field(default=1, ge=0, le=MAX_CAPACITY_WAIT_HOURS)
    """How long the types are tried again and again without capacity. Each is tried at least once, for at least half an
    hour if SageMaker makes the job wait for instances.
    """
    training_plan_arn: str | None = Field(
        default=None,
        min_length=50,
        max_length=2048,
        pattern=r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:[0-9]{12}:training-plan/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,63}$",
    )
    """A SageMaker training plan, capacity that you have bought, of the first instance type. Its name begins
    with the stage's prefix, `finetune-dev-`. Fallback types are on demand.
    """
    max_runtime_hours: float | None = Field(default=None, gt=0, le=LONGEST_RUNTIME_HOURS)
    """Default: the stage's limit. A run that is estimated to take longer is refused. A job that reaches the limit is
    stopped and leaves no model.
    """
    max_cost_usd: float | None = Field(default=None, gt=0, le=MAX_USD)
    """Cost of the training. A run that is estimated to cost more is refused. It also limits the job's run time."""


class AutoscalingRequest(_Part):
    """Changes the number of instances with the traffic."""

    min_instances: int = Field(default=1, ge=1, le=100)
    """The fewest instances, with little traffic."""
    max_instances: int = Field(ge=1, le=100)
    """The most instances, which also limits the cost per hour."""
    invocations_per_instance: int = Field(default=60, ge=1, le=100_000)
    """Target invocations per instance and minute. Long answers take seconds: measure yours before you raise it."""


class DataCaptureRequest(_Part):
    """Stores requests and responses."""

    percentage: int = Field(default=100, ge=1, le=100)
    """Share of the invocations that is stored."""


class EndpointRequest(_Part):
    """The endpoint that serves the tuned model."""

    deploy: bool = True
    """Whether the tuned model is deployed. Otherwise it is kept and registered; `finetune deploy` deploys it later."""
    target: Literal["sagemaker", "bedrock", "auto"] = "sagemaker"
    """Where the model is served: "sagemaker", on an endpoint that is paid by the hour; "bedrock", imported, so that it
    is paid while it is used, and little for its storage; "auto", the one that costs less at `expected_hours_per_day`.
    """
    expected_hours_per_day: float | None = Field(default=None, ge=0, le=24)
    """Hours a day in which the model is asked at least every five minutes. "auto" needs it."""
    name: Name | None = None
    """Default: the run's id. A later run with the same name replaces the model without downtime."""
    owners: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=list, max_length=MAX_OWNERS
    )
    """Names of other uploads (the folder `runs/<name>/`) whose runs may replace the model of this endpoint too, where
    the stage limits that to owners.
    """
    instance_type: InstanceType | None = None
    """Default: the model's own."""
    fallback_instance_types: list[InstanceType] = Field(default_factory=list, max_length=MAX_ENDPOINT_FALLBACKS)
    """Instance types to try, in this order, if AWS has no capacity for the first one."""
    instance_count: int = Field(default=1, ge=1, le=100)
    """How many instances serve the model."""
    ttl_hours: TtlHours | None = None
    """Hours after which the endpoint is deleted, or "never". The tuned model is kept. Default: the stage's."""
    idle_minutes: IdleMinutes | None = None
    """Minutes without requests after which the endpoint is deleted, or "never". Default: the stage's."""
    autoscaling: AutoscalingRequest | None = None
    """Default: a fixed number of instances."""
    data_capture: bool | DataCaptureRequest = False
    """Whether requests and responses are stored, encrypted, with the run's files."""


class EvaluationRequest(_Part):
    """How the tuned model is evaluated once its endpoint is in service."""

    prompts: Annotated[int, Field(ge=0, le=MAX_PROMPTS)] | Annotated[list[str], Field(max_length=MAX_OWN_PROMPTS)] = (
        HELD_OUT
    )
    """The number of held-out prompts to ask, all of them if there are fewer; or a list of your own prompts, which are
    asked beside 100 held-out ones.
    """
    compare_with_base: bool | None = None
    """Also ask the base model, on a temporary endpoint, which costs money until it is deleted. Default: if that costs
    at most a tenth of the training or 2 USD.
    """
    must_beat_base: bool | Literal["helped"] = False
    """Evaluate both models on temporary endpoints first. With true, a tuned model that is worse than the base model is
    not deployed; with "helped", only one that is better. Implies `compare_with_base`.
    """
    judge: Annotated[str, Field(pattern=JUDGE_ID, max_length=140)] | None = None
    """A model in Bedrock, or an inference profile, of those that the stage allows. It is shown the prompt, the
    reference and both models' answers, and says which is better: a number beside the verdict. Implies
    `compare_with_base`.
    """


class RunRequest(_Part, DataOptions):
    """The options of a run."""

    promote: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^arn:aws:sagemaker:[a-z0-9-]+:\d{12}:model-package/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}/[0-9]{1,9}$",
    )
    """ARN of a version in the model registry of another account, which is deployed here instead of training one.
    `finetune promote` writes it. Of the other fields, `endpoint` and `tags` can be set.
    """

    model: str | None = Field(default=None, max_length=200)
    """The JumpStart model id. Default: the stage's."""
    model_version: str | None = Field(default=None, pattern=r"^\d+(\.\d+){0,3}$")
    """Default: the newest version that this project's facts were checked against."""
    accept_eula: bool = False
    """Accepts the licence of the model. Nothing starts unless run.json or the stage accepts it."""
    hyperparameters: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=100)
    """By name. `finetune models --json` lists them. The others keep the model's defaults."""
    training: TrainingRequest = Field(default_factory=TrainingRequest)
    endpoint: EndpointRequest = Field(default_factory=EndpointRequest)
    evaluation: EvaluationRequest = Field(default_factory=EvaluationRequest)
    approval: bool = False
    """Whether the run waits for `finetune approve` or `finetune reject` before it deploys the model."""
    tags: dict[
        Annotated[str, Field(min_length=1, max_length=128, pattern=TagText)],
        Annotated[str, Field(max_length=256, pattern=TagText)],
    ] = Field(default_factory=dict, max_length=30)
    """Set on every resource that the run creates."""

    @property
    def data_options(self) -> DataOptions:
        return DataOptions(**{name: getattr(self, name) for name in DataOptions.model_fields})


def read_request(body: bytes) -> tuple[RunRequest, list[Finding]]:
    """The request, and a finding for each field that cannot be used.

    Such a field is treated as not set, so that later checks can still report what else is wrong.
    """
    if len(body) > MAX_BYTES:
        size = f"run.json is larger than {MAX_BYTES:,} bytes."
        return RunRequest(), [_finding("", size, "Keep the settings only; the data belongs in files next to it.")]
    if encoding := wide_encoding(body):
        fix = "Save it as UTF-8: in PowerShell with Out-File -Encoding utf8."
        return RunRequest(), [_finding("", f"run.json is {encoding}, not UTF-8.", fix)]
    try:
        document = orjson.loads(body.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        return RunRequest(), [_finding("", "run.json is not valid JSON.", f"Fix the JSON: {_position(body, error)}.")]
    if not isinstance(document, dict):
        return RunRequest(), [_finding("", "run.json must be a JSON object.", 'The shortest is {"accept_eula": true}.')]
    document.pop("$schema", None)  # editors write it to find the schema
    findings: dict[str, Finding] = {}
    while True:
        try:
            return RunRequest.model_validate(document), _first(list(findings.values()))
        except ValidationError as error:
            problems: dict[Path, list[ErrorDetails]] = {}
            for problem in error.errors():
                problems.setdefault(_path_in(document, problem["loc"]), []).append(problem)
            for path, about_one_field in problems.items():
                finding = _explain(path, about_one_field)
                findings.setdefault(finding.field, finding)  # a refused required field is missing in the next round
            for path in sorted(problems, reverse=True, key=len):
                _remove(document, path)


def is_unreadable(findings: Sequence[Finding]) -> bool:
    """True if no field of run.json could be read, so that nothing more can be said about the run."""
    return len(findings) == 1 and not findings[0].field


def _first(findings: list[Finding]) -> list[Finding]:
    """The findings that are listed, and one that counts the others."""
    more = len(findings) - MAX_FINDINGS
    if more <= 0:
        return findings
    counted = _finding(
        "", f"run.json has {more:,} more field{'s' if more > 1 else ''} that cannot be used.", "Fix those above first."
    )
    return [*findings[:MAX_FINDINGS], counted]


SCHEMA_ID = "urn:finetune-llama-on-aws:run.schema.json"
_ABBREVIATIONS = {"usd": "(USD)", "arn": "ARN", "ttl": "TTL", "eula": "licence", "json": "JSON"}


class _Schema(GenerateJsonSchema):
    """Pydantic's schema with what editors need: its dialect, an id, and texts for a person: the fields' docstrings."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        document = super().model_schema(schema)
        for field, said in _docstrings(schema["cls"]).items():
            document["properties"][field]["description"] = said
        return document

    def generate(self, schema: Any, mode: Any = "validation") -> dict[str, Any]:
        document = super().generate(schema, mode)
        place = {"type": "string", "title": "Schema", "description": "Where this schema is, for editors."}
        document["properties"]["$schema"] = place
        parts = document["$defs"]
        for part in (document, *parts.values()):
            _on_one_line(part)
            part["title"] = part["title"].removesuffix("Request")
            for name, field in part["properties"].items():
                _on_one_line(field)
                field.setdefault("title", self.get_title_from_name(name))
                if "$ref" in field and "description" not in field:
                    described = parts[field["$ref"].rpartition("/")[2]]["description"]
                    field["description"] = " ".join(described.split())
        return {"$schema": self.schema_dialect, "$id": SCHEMA_ID, **document, "title": "run.json"}

    def get_title_from_name(self, name: str) -> str:
        """`max_cost_usd` → `Max cost (USD)`."""
        words = " ".join(_ABBREVIATIONS.get(word, word) for word in name.split("_"))
        return words[:1].upper() + words[1:]


def _on_one_line(described: dict[str, Any]) -> None:
    """Editors show the line breaks of a docstring."""
    if "description" in described:
        described["description"] = " ".join(described["description"].split())


def run_schema() -> dict[str, Any]:
    """The JSON Schema of run.json, published by `python -m finetuning.runs.run_json > FILE` as
    cli/finetuning_cli/run.schema.json.
    """
    return RunRequest.model_json_schema(schema_generator=_Schema)


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field of a model, in its source.

    Pydantic does the same for a model with `use_attribute_docstrings`, but at its import: each function would parse
    the source whenever it starts.
    """
    found: dict[str, str] = {}
    for part in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        defined = cast(ast.ClassDef, ast.parse(inspect.getsource(part)).body[0])
        for field, below in pairwise(defined.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    found[name] = inspect.cleandoc(said)
    return found


def _position(body: bytes, error: orjson.JSONDecodeError) -> str:
    """Where the JSON is wrong, and what was expected there. Python's parser says that, orjson's does not; but orjson
    alone reads all that is not UTF-8 or nested too deeply for Python.
    """
    exact = _python_error(body) or error
    expected = (
        exact.msg.removesuffix(" delimiter")
        .replace("property name enclosed in", "a name in")
        .replace("Expecting value", "expected a value")
        .replace("Expecting", "expected")
    )
    return f"line {exact.lineno}, column {exact.colno}: {expected}"


def _python_error(body: bytes) -> json.JSONDecodeError | None:
    """None if Python's parser finds no error, or another one than a wrong character."""
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        return error
    except (UnicodeDecodeError, RecursionError):
        return None
    return None


def _explain(path: Path, problems: list[ErrorDetails]) -> Finding:
    """One finding per field: pydantic reports a problem for each type that the field may have."""
    first = problems[0]
    field = ".".join(map(str, first["loc"] if first["type"] == "missing" else path))
    if first["type"] == "extra_forbidden":
        known = _fields_at(path[:-1])
        near = nearest(str(path[-1]), known)
        return _finding(
            field,
            f"run.json: unknown field {field!r}.",
            f"Did you mean {near}?" if near else f"Known fields: {', '.join(known)}.",
        )
    what = f"the name of {field}" if first["loc"][-1] == "[key]" else field
    allowed = " or ".join(dict.fromkeys(map(_allowed, problems))).replace(" or must be ", " or ")
    allowed = allowed.replace("a whole number or a number", "a number")
    return _finding(field, f"run.json: {what} {allowed}.", "docs/operating.md lists every field and its values.")


_WORDS = {
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid list": "a list",
    "less than or equal to": "at most",
    "greater than or equal to": "at least",
    "match pattern": "match the pattern",
}
"""Pydantic's words, and those of a user who writes JSON."""


def _allowed(problem: ErrorDetails) -> str:
    """What the value must be: "must be …", "must have …", "is required"."""
    if problem["type"] == "missing":
        return "is required"
    if problem["type"] == "literal_error":
        values = re.findall(r"'([^']*)'", problem["msg"])
        return f'must be "{values[0]}"' if len(values) == 1 else f"must be one of {', '.join(values)}"
    said = re.sub(r" after validation, not \d+$", "", problem["msg"])
    said = re.sub(r"a valid dictionary.*", "an object", said)
    for theirs, ours in _WORDS.items():
        said = said.replace(theirs, ours)
    return re.sub(r"^\w+ should ", "must ", said)


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
    """The path in the document that pydantic's location stands for. Pydantic also names members of unions and `[key]`.
    The items of a list share the list's path.
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
