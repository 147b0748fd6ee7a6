"""Arguments and options that several commands share."""

import inspect
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any

import typer
from rich.console import Console

ROLES = ("prompt", "completion", "system", "text")
_NEXT_COLUMN = re.compile(r",(?=(?:prompt|completion|system|text)=)")


class Untrained(StrEnum):
    """What becomes of rows with an answer that must not be learned."""

    REFUSE = "refuse"
    DROP = "drop"
    TRAIN = "train"


class TaskChoice(StrEnum):
    """The tasks of run.json."""

    AUTO = "auto"
    CHAT = "chat"
    INSTRUCTION = "instruction"
    DOMAIN_ADAPTATION = "domain_adaptation"


class Target(StrEnum):
    """Where a model is served."""

    SAGEMAKER = "sagemaker"
    BEDROCK = "bedrock"


class TargetChoice(StrEnum):
    """Where run.json may want the model to be served."""

    SAGEMAKER = "sagemaker"
    BEDROCK = "bedrock"
    AUTO = "auto"


class Near(StrEnum):
    """What becomes of training rows that nearly repeat another row."""

    REPORT = "report"
    DROP = "drop"


VERDICT_EXIT_CODES = {"broken": 1, "no measurable change": 3, "worse": 4}
"""By the verdict of an evaluation."""

COMMON = "Common options"

Stage = Annotated[str, typer.Option(envvar="FINETUNE_STAGE", help="The deployed stage.", rich_help_panel=COMMON)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.", rich_help_panel=COMMON)]
Profile = Annotated[str | None, typer.Option(help="The AWS profile.", rich_help_panel=COMMON)]
Region = Annotated[str | None, typer.Option(help="The AWS region.", rich_help_panel=COMMON)]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print results and errors only, no progress.", rich_help_panel=COMMON)
]

RunName = Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")]
EndpointName = Annotated[str, typer.Argument(help="The endpoint's name, with or without the stage's prefix.")]

RUN = "Settings of the run, which override run.json"
Model = Annotated[str | None, typer.Option(help="The JumpStart model id.", rich_help_panel=RUN)]
TaskName = Annotated[
    TaskChoice | None, typer.Option(help="The task. Default: derived from the data.", rich_help_panel=RUN)
]
Epochs = Annotated[int | None, typer.Option(min=1, help="How many times training reads the data.", rich_help_panel=RUN)]
MaxCost = Annotated[
    float | None, typer.Option(min=0.01, help="Maximum cost of the training, in USD.", rich_help_panel=RUN)
]
ServingTarget = Annotated[
    TargetChoice | None,
    typer.Option(
        "--target",
        help="Serve by an endpoint (paid by the hour), by Bedrock (paid by use), or by the cheaper at --hours-a-day.",
        rich_help_panel=RUN,
    ),
]
HoursADay = Annotated[
    float | None, typer.Option(min=0, max=24, help="Hours of use a day, for --target auto.", rich_help_panel=RUN)
]
AcceptEula = Annotated[
    bool, typer.Option("--accept-eula", help="Accept the licence of the model.", rich_help_panel=RUN)
]
COLUMNS_FORM = "prompt=NAME and completion=NAME (also system=NAME), or text=NAME, separated by commas"
ColumnNames = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        help=f"Columns to use: {COLUMNS_FORM}.",
        rich_help_panel=RUN,
    ),
]
UntrainedAnswers = Annotated[
    Untrained | None,
    typer.Option(
        help="What to do with rows that have an answer marked not to be learned (weight: 0).", rich_help_panel=RUN
    ),
]
NearDuplicates = Annotated[
    Near | None,
    typer.Option(
        help="What to do with training rows that nearly repeat an earlier or a held-out row.", rich_help_panel=RUN
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        min=1, help="Maximum number of training tokens. The same rows are chosen every time.", rich_help_panel=RUN
    ),
]


def row_options(
    columns: Sequence[str] | None,
    untrained_answers: Untrained | None,
    near_duplicates: Near | None,
    max_tokens: int | None,
) -> dict[str, Any]:
    """The fields of `data` in run.json that are set by options. Raises `BadParameter` for columns in another form."""
    chosen: dict[str, Any] = {}
    if columns:
        pairs = [pair.partition("=") for each in columns for pair in _NEXT_COLUMN.split(each)]
        names = {role.strip(): name.strip() for role, _, name in pairs}
        if not names.keys() <= set(ROLES) or not all(names.values()):
            raise typer.BadParameter(f"must be {COLUMNS_FORM}.", param_hint="--columns")
        chosen["columns"] = names
    if untrained_answers:
        chosen["untrained_answers"] = untrained_answers.value
    if near_duplicates:
        chosen["near_duplicates"] = near_duplicates.value
    if max_tokens:
        chosen["max_tokens"] = max_tokens
    return chosen


PREFERRED_TO_A_PROFILE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_PROFILE")
"""What boto3 would use in place of AWS_PROFILE."""

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def with_common_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options that every one has: `--profile`, `--region`, `--quiet`."""

    def run(profile: str | None, region: str | None, quiet: bool, **given: Any) -> None:
        if profile:
            for name in PREFERRED_TO_A_PROFILE:
                os.environ.pop(name, None)
            os.environ["AWS_PROFILE"] = profile
        if region := region or os.environ.get("AWS_REGION"):
            # AWS's CLI and other SDKs prefer AWS_REGION; boto3 reads only the other.
            os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region
        _quiet.set(quiet)
        for name, value in given.items():
            if isinstance(value, float) and not math.isfinite(value):  # which JSON cannot hold
                raise typer.BadParameter(f"{value} is not a number.", param_hint=f"--{name.replace('_', '-')}")
        command(**given)

    return _with_options(command, run, {"profile": (Profile, None), "region": (Region, None), "quiet": (Quiet, False)})


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which takes the fields of run.json as `chosen`, with an option for each of the usual ones."""

    def run(
        model: str | None,
        task: TaskChoice | None,
        epochs: int | None,
        max_cost: float | None,
        target: TargetChoice | None,
        hours_a_day: float | None,
        accept_eula: bool,
        columns: list[str] | None,
        untrained_answers: Untrained | None,
        near_duplicates: Near | None,
        max_tokens: int | None,
        **given: Any,
    ) -> None:
        endpoint = {"target": target and target.value, "expected_hours_per_day": hours_a_day}
        chosen = {
            "model": model,
            "task": task and task.value,
            "accept_eula": accept_eula,
            "hyperparameters": {"epoch": epochs} if epochs else None,
            "training": {"max_cost_usd": max_cost} if max_cost else None,
            "endpoint": {name: value for name, value in endpoint.items() if value is not None},
            "data": row_options(columns, untrained_answers, near_duplicates, max_tokens),
        }
        command(chosen={name: value for name, value in chosen.items() if value}, **given)

    options = {
        "model": (Model, None),
        "task": (TaskName, None),
        "epochs": (Epochs, None),
        "max_cost": (MaxCost, None),
        "target": (ServingTarget, None),
        "hours_a_day": (HoursADay, None),
        "accept_eula": (AcceptEula, False),
        "columns": (ColumnNames, None),
        "untrained_answers": (UntrainedAnswers, None),
        "near_duplicates": (NearDuplicates, None),
        "max_tokens": (MaxTokens, None),
    }
    return _with_options(command, run, options, instead_of="chosen")


def _with_options(
    command: Callable[..., None], run: Callable[..., None], options: Mapping[str, tuple[Any, Any]], instead_of: str = ""
) -> Callable[..., None]:
    """`run`, with the help and the parameters of `command` and these options: annotation and default by name."""

    @wraps(command)
    def wrapped(**given: Any) -> None:
        run(**given)

    signature = inspect.signature(command)
    kept = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in signature.parameters.values()
        if each.name != instead_of
    ]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
    wrapped.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]  # typer reads it
    wrapped.__annotations__ = {
        name: annotation for name, annotation in command.__annotations__.items() if name != instead_of
    } | {name: annotation for name, (annotation, _) in options.items()}
    return wrapped


def progress_console(as_json: bool = False) -> Console:
    """Where progress is printed: standard output; with --json standard error; with --quiet nowhere."""
    return Console(stderr=as_json, quiet=_quiet.get())


def exit_by_verdict(verdict: str | None) -> None:
    """Ends the command with the exit code of the verdict, unless that is 0."""
    if code := VERDICT_EXIT_CODES.get(verdict or "", 0):
        raise typer.Exit(code)


def region_in_use() -> str:
    """The region of `--region`, of the environment or of the profile, else us-east-1."""
    import boto3
    from botocore.exceptions import ProfileNotFound

    try:
        return boto3.Session().region_name or "us-east-1"
    except ProfileNotFound:  # a command that asks AWS reports it; what works offline needs no profile
        return "us-east-1"
