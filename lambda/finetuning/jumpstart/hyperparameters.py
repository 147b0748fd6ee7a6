"""The hyperparameters of a job, and findings for those of run.json that cannot be used.

In order of increasing priority: defaults of the model, of the instance family, of the exact instance type, flags of the
task, values of the user. The model's family has the rules across several hyperparameters.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from finetuning.errors import Code, Finding
from finetuning.jumpstart.catalogue import nearest, support
from finetuning.jumpstart.family import Task
from finetuning.jumpstart.spec import Hyperparameter, ModelSpec

MAX_VALUE_LENGTH = 2500
"""SageMaker's limit for a value as it is sent, in JSON quotes."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(e[+-]?[0-9]{1,3})?", re.IGNORECASE)


def input_length(hyperparameters: Mapping[str, Any], default: int) -> int:
    """Tokens of a row that training reads: `max_input_length`, or `default`, the model's, if it is not positive."""
    given = str(hyperparameters.get("max_input_length"))
    return int(given) if given.isdigit() and int(given) else default


def merge(
    spec: ModelSpec, instance_type: str, task: Task | None, given: Mapping[str, Any]
) -> tuple[dict[str, str], list[Finding]]:
    """All hyperparameters of a job by name, and a finding for each in `given` that cannot be used.

    A refused value is replaced by its default, and so is every value of a conflict: what is returned is always valid.
    With `task` None (not known yet) the task's flags keep their defaults.
    """
    known = {p.name: p for p in spec.hyperparameters_on(instance_type).values() if p.scope == "algorithm"}
    model = support(spec.model_id)
    flags = {name: value for name, value in model.family.task_flags(task).items() if name in known} if task else {}
    values = {name: parameter.default_text for name, parameter in known.items()} | flags
    findings: list[Finding] = []
    accepted: dict[str, str] = {}
    for name, value in given.items():
        if name not in known:
            findings.append(_unknown(name, known, spec))
        elif problem := _problem(known[name], value):
            findings.append(_finding(Code.HYPERPARAMETER_INVALID, name, f"{name} {problem}.", _allowed(known[name])))
        elif flags.get(name, str(value)) != str(value):
            findings.append(
                _finding(
                    Code.HYPERPARAMETERS_CONFLICT,
                    name,
                    f"{name}={value} contradicts the task {task}.",
                    f"Remove {name}: the task sets it.",
                )
            )
        else:
            accepted[name] = str(value)
    conflicts = list(model.family.conflicts(model, values | accepted))
    findings += [_finding(Code.HYPERPARAMETERS_CONFLICT, c.hyperparameters[0], c.message, c.fix) for c in conflicts]
    contradicting = {name for conflict in conflicts for name in conflict.hyperparameters}
    accepted = {name: value for name, value in accepted.items() if name not in contradicting}
    return values | accepted, findings


def _problem(parameter: Hyperparameter, value: Any) -> str:
    """Why the value cannot be used, as the predicate of a sentence; "" for a valid value."""
    if parameter.type == "bool":
        return "" if str(value).lower() in ("true", "false") else f"must be true or false, not {_shown(value)}"
    if parameter.type == "text":
        if isinstance(value, bool) and str(value) in parameter.options:
            return ""
        if not isinstance(value, str):
            return f"must be text, not {_shown(value)}"
        if parameter.options and value not in parameter.options:
            return f"must be one of {', '.join(parameter.options)}, not {_shown(value)}"
        if len(json.dumps(value)) > MAX_VALUE_LENGTH:
            return f"must be at most {MAX_VALUE_LENGTH} characters long"
        return _out_of_range(parameter, len(value), "have a length")
    number = _number(value, whole=parameter.type == "int")
    if number is None:
        return f"must be {'a whole' if parameter.type == 'int' else 'a'} number, not {_shown(value)}"
    return _out_of_range(parameter, number, "be")


def _number(value: Any, *, whole: bool) -> float | None:
    """The finite number of an int, a float or their text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if not (_WHOLE if whole else _DECIMAL).fullmatch(str(value)):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _out_of_range(parameter: Hyperparameter, number: float, verb: str) -> str:
    for limit, word, broken in (
        (parameter.min, "at least", parameter.min is not None and number < parameter.min),
        (parameter.max, "at most", parameter.max is not None and number > parameter.max),
        (parameter.exclusive_min, "above", parameter.exclusive_min is not None and number <= parameter.exclusive_min),
        (parameter.exclusive_max, "below", parameter.exclusive_max is not None and number >= parameter.exclusive_max),
    ):
        if broken:
            return f"must {verb} {word} {limit:g}, not {number:g}"
    return ""


def _unknown(name: str, known: Mapping[str, Hyperparameter], spec: ModelSpec) -> Finding:
    near = nearest(name, known)
    return _finding(
        Code.HYPERPARAMETER_INVALID,
        name,
        f"{spec.model_id} has no hyperparameter {_shown(name)}.",
        f"Did you mean {near}?" if near else f"It has {', '.join(known)}.",
    )


def _allowed(parameter: Hyperparameter) -> str:
    """The allowed values, as the text of a fix."""
    if parameter.options:
        return f"Use one of {', '.join(parameter.options)}; the default is {parameter.default_text}."
    low = [f"from {parameter.min:g}"] if parameter.min is not None else []
    high = [f"to {parameter.max:g}"] if parameter.max is not None else []
    range_ = " ".join(low + high)
    unit = {"int": "a whole number", "float": "a number", "text": "text", "bool": "true or false"}[parameter.type]
    return f"Use {unit}{' ' + range_ if range_ else ''}; the default is {parameter.default_text}."


def _shown(value: Any) -> str:
    """The value, shortened for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _finding(code: Code, name: str, message: str, fix: str) -> Finding:
    return Finding(code, f"hyperparameters.{name[:60]}", message, fix)
