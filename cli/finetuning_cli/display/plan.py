"""A planned run in a terminal: the answer first, then what is wrong, then the figures and where they are from."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from finetuning.runs.plan import RunPlan, TrainingOption
from finetuning_cli.display.comparison import comparison_in_words, evaluation_footnotes
from finetuning_cli.display.findings import checks_table
from finetuning_cli.display.serving import serving_footnotes, serving_in_words, serving_rows
from finetuning_cli.display.text import WIDE_ENOUGH, counted, plain, rounded
from finetuning_cli.preflight.hyperparameters import Setting, settings_of
from finetuning_cli.preflight.planning import PlannedRun

ALWAYS_SHOWN = ("epoch", "learning_rate", "max_input_length", "per_device_train_batch_size")
"""Hyperparameters worth a row even with the model's default."""


def plan_report(planned: PlannedRun, planned_for: str, width: int) -> RenderableType:
    """What `finetune plan` prints. `planned_for`: the stage, in a sentence."""
    return Group(*_parts(planned, planned_for, width))


def answer(planned: PlannedRun) -> Text:
    """The one sentence that a plan comes down to."""
    if not planned.can_start or planned.plan is None:
        found = len(planned.checklist.findings)
        return plain(f"This run would be refused: {counted(found, 'problem')}. Nothing was started.", "bold red")
    plan = planned.plan
    return Text.assemble(
        (f"{training_in_words(plan)}; {comparison_in_words(plan)}{serving_in_words(plan.endpoint)}.", "bold green")
    )


def training_in_words(plan: RunPlan) -> str:
    """`About 15 min and 1.78 USD on ml.g5.12xlarge, at worst 8.98`."""
    option, training = plan.training.options[0], plan.training
    about = "About" if option.estimate.tokens is not None else "At least"
    time = _duration(option) or "an unknown time"
    cost = _usd(option.estimate.usd) or "an unknown cost"
    costs = [each.estimate.usd for each in training.options if each.estimate.usd is not None]
    worst = max(costs, default=0)
    at_worst = f", at worst {worst:,.2f}" if option.estimate.usd is not None and worst > option.estimate.usd else ""
    return f"{about} {time} and {cost} on {option.instance_type}{at_worst}"


def _parts(planned: PlannedRun, planned_for: str, width: int) -> Iterator[RenderableType]:
    checks = planned.checklist.checks
    yield answer(planned)
    yield plain(planned_for, "dim")
    if planned.report and planned.report.ok:
        rows = planned.report.rows
        trained = f"{counted(rows.train, 'row')} to train on, {rows.validation:,} held out"
        yield plain(f"Data: {planned.report.task}, {trained}.", "dim")
    failed, warned = [each for each in checks if each.ok is False], [each for each in checks if each.ok is None]
    if failed or warned:
        yield checks_table([*failed, *warned])
    if planned.plan and planned.spec and planned.can_start:
        yield _types(planned.plan, width)
        yield _hyperparameters(settings_of(planned.plan, planned.spec))
        yield from _footnotes(planned.plan)
    if passed := list(dict.fromkeys(each.check for each in checks if each.ok)):
        yield Text.assemble(("✓ ", "green"), f"Passed: {', '.join(passed)}")


def _types(plan: RunPlan, width: int) -> Table:
    """A row per instance type: of the training, of each next choice without capacity, of the endpoint."""
    wide = width >= WIDE_ENOUGH
    figures = ("USD/h¹", "time²", "USD") + (("stopped after", "at most USD") if wide else ())
    columns = [
        Column("instance type", no_wrap=True),
        Column("for"),
        *(Column(each, justify="right") for each in figures),
    ]
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for position, option in enumerate(plan.training.options):
        known = option.estimate
        row = [
            option.instance_type,
            f"choice {position + 1}" if position else "training",
            _number(known.usd_per_hour),
            _duration(option) or "?",
            _number(known.usd),
        ]
        if wide:
            hours = option.max_runtime_seconds / 3600
            most = None if known.usd_per_hour is None else known.usd_per_hour * hours
            row += [rounded(timedelta(hours=hours)), _number(most)]
        table.add_row(*row)
    asked = plan.evaluation.estimate
    if asked and asked.temporary_endpoints:
        count = asked.temporary_endpoints * plan.endpoint.instance_count
        row = [
            f"{count} × {plan.endpoint.instance_type}" if count > 1 else plan.endpoint.instance_type,
            "comparison",
            _number(plan.endpoint.usd_per_hour),
            rounded(timedelta(seconds=asked.seconds)),
            _number(asked.usd),
        ]
        if wide:
            row += [rounded(timedelta(hours=asked.hours_at_most)), _number(asked.usd_at_most)]
        table.add_row(*row)
    for what, purpose, hourly in serving_rows(plan.endpoint):
        table.add_row(what, purpose, _number(hourly))
    return table


def _hyperparameters(settings: Sequence[Setting]) -> RenderableType:
    """A row for each that differs from the model's default or matters most; the others on a line."""
    table = Table(
        Column("hyperparameter", no_wrap=True),
        Column("value", overflow="fold"),
        Column("from", no_wrap=True),
        Column("default", overflow="fold"),
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,  # with it the table needs 61 columns
    )
    shown = [each for each in settings if each.changed or each.name in ALWAYS_SHOWN]
    for each in shown:
        default = "" if each.source == "model" else each.default
        table.add_row(each.name, plain(each.value), each.source, plain(default))
    others = ", ".join(f"{each.name} {each.value}" for each in settings if each not in shown)
    return Group(table, plain(f"The others keep the model's defaults: {others}", "dim") if others else "")


def _footnotes(plan: RunPlan) -> Iterator[RenderableType]:
    """What the figures assume, each once."""
    option = plan.training.options[0]
    estimate, price = option.estimate, option.price
    yield plain(f"¹ Of one instance ({price.source if price else 'unknown'}).", "dim")
    tokens = (
        f"{estimate.tokens:,} tokens an epoch × {counted(estimate.epochs, 'epoch')}, {estimate.tokens_from}"
        if estimate.tokens is not None
        else "start-up only, because there is no data to measure"
    )
    speed = f"{estimate.tokens_per_second:g} tokens/s" if estimate.tokens_per_second else "unknown speed"
    yield plain(
        f"² {tokens}; {speed} on {option.instance_type} after {estimate.start_seconds:g} s of start-up "
        f"({estimate.speed_from}).",
        "dim",
    )
    if len(plan.training.options) > 1:
        yield plain("A next choice is used if AWS has no capacity for the ones before it.", "dim")
    yield from (plain(each, "dim") for each in evaluation_footnotes(plan.evaluation))
    yield from (plain(each, "dim") for each in serving_footnotes(plan.endpoint))
    if estimate.usd_per_hour is not None:
        hours = option.max_runtime_seconds / 3600
        most = f"{estimate.usd_per_hour * hours:,.2f} USD"
        known = plan.training.max_cost_usd is not None
        limit = "max_cost_usd sets that" if known else "set a lower limit with --max-cost"
        yield plain(f"Training is stopped after {rounded(timedelta(hours=hours))}, at {most}; {limit}.", "dim")


def _duration(option: TrainingOption) -> str:
    seconds = option.estimate.seconds
    return "" if seconds is None else rounded(timedelta(seconds=max(seconds, 60)))


def _usd(amount: float | None) -> str:
    return "" if amount is None else f"{amount:,.2f} USD"


def _number(amount: float | None) -> str:
    return "?" if amount is None else f"{amount:,.2f}"
