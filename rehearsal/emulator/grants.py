"""Which permissions are made use of: every grant of every role, and whether a call has needed it yet.

A grant is one action on one resource under one condition, as a role's policy states them. It counts as used when the
emulator's own evaluator allowed a call that all three cover. Of each use one call is kept as an example, in the words
of the templates, so that IAM itself can be asked about it in an account where the stage is deployed.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_region
from ministack.services import cloudformation, iam

from rehearsal.emulator.identity import ACCOUNT

Grant = tuple[str, str, str, str]
"""Role, action, resource, and the condition as JSON."""
_used: set[Grant] = set()
_examples: dict[tuple[Grant, str], dict[str, Any]] = {}
"""Of each grant and action: the first call that needed it, as `listed` has it."""
_resources: dict[str, str] = {}
"""Physical id of a stage's resource → `{stack.logical id}`; those of deleted stacks are kept."""
_STAGE = "finetune-"
_SHORTEST_ID = 8
_RUN = re.compile(r"(?<=[-/])(?:[a-z0-9]+-)+[0-9a-f]{8}(?![0-9a-z])")
EXAMPLE_RUN = "example-0a1b2c3d"
_IMPORTED = re.compile(r"(imported-model|model-import-job)/[a-z0-9]{12}$")
"""A model or a job of Bedrock, which gives each an id of its own."""
EXAMPLE_IMPORT = r"\1/0a1b2c3d4e5f"
_EXECUTION = re.compile(r"(?<=:)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
"""The name of an execution, which Step Functions makes for each."""


def install() -> None:
    """Notes every call that the emulator evaluates and allows."""
    iam_evaluator.evaluate = _noting(iam_evaluator.evaluate)


def listed() -> list[dict[str, Any]]:
    """All grants of all roles, those of deleted roles if they were used: `role`, `action`, `resource`, `condition`, and
    whether they were `used`.
    """
    present = {
        grant: None
        for account, role in list(iam._roles._data)
        if account == ACCOUNT
        for grant, _ in _grants(role, iam_evaluator._gather_role_policies(role, ACCOUNT))
    }
    return [
        {"role": grant[0], "action": grant[1], "resource": grant[2], "condition": grant[3], "used": grant in _used}
        for grant in present | dict.fromkeys(_used)
    ]


def examples() -> list[dict[str, Any]]:
    """A call for each used grant of a stage's role and each action of it: `role`, `action`, `resource`, and the
    condition `keys` that the role's policies ask for.

    Names are those of the templates: `{stack.logical id}`, `{account}`, `{region}` and `{prefix}`.
    """
    return [call for call in _examples.values() if call["role"].startswith("{")]


def _noting(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate_and_note(call: Any, policies: list[list[Any]], *limits: Any) -> Any:
        result = evaluate(call, policies, *limits)
        if result.decision == "Allow" and ":assumed-role/" in call.principal_arn:
            role = iam_evaluator._role_name_from_assumed_arn(call.principal_arn)
            used = [
                grant
                for grant, conditions in _grants(role, policies)
                if iam_evaluator._action_matches(call.action, [grant[1]], [])
                and iam_evaluator._resource_matches(call.resource_arn, [grant[2]], [])
                and iam_evaluator._conditions_met(conditions, call)
            ]
            _used.update(used)
            for grant in used:
                if role.startswith(_STAGE) and (grant, call.action) not in _examples:
                    _examples[grant, call.action] = _example(role, grant, call, policies)
        return result

    return evaluate_and_note


def _grants(role: str, policies: list[list[Any]]) -> Iterator[tuple[Grant, dict[str, Any]]]:
    """Each grant of these parsed policies, with its condition as it is evaluated."""
    for statement in (statement for policy in policies for statement in policy if statement.effect == "Allow"):
        condition = json.dumps(statement.conditions, sort_keys=True)
        for action in statement.actions:
            for resource in statement.resources:
                yield (role, action, resource, condition), statement.conditions


def _example(role: str, grant: Grant, call: Any, policies: list[list[Any]]) -> dict[str, Any]:
    """Without a role where the grant is not the role's own: the policies of buckets and keys are evaluated, too."""
    if grant not in (own for own, _ in _grants(role, iam_evaluator._gather_role_policies(role, ACCOUNT))):
        return {"role": ""}
    for name, stack in cloudformation._stacks.items():
        for logical_id, resource in stack["_resources"].items() if name.startswith(_STAGE) else ():
            physical_id = str(resource.get("PhysicalResourceId", "")).rpartition(":")[2]
            if len(physical_id) >= _SHORTEST_ID:
                _resources[physical_id] = f"{{{name.rpartition('-')[2]}.{logical_id}}}"
    asked = {
        key.lower()
        for statement in (statement for policy in policies for statement in policy)
        for block in statement.conditions.values()
        for key in block
    }
    keys = {
        key: list(map(_in_template_words, value)) if isinstance(value, list) else _in_template_words(str(value))
        for key, value in sorted(call.service_context.items())
        if key in asked and value is not None
    }
    return {
        "role": _in_template_words(role),
        "action": call.action,
        "resource": _in_template_words(call.resource_arn),
        "keys": keys,
    }


def _in_template_words(text: str) -> str:
    for physical_id in sorted(_resources, key=len, reverse=True):
        text = text.replace(physical_id, _resources[physical_id])
    text = text.replace(ACCOUNT, "{account}")
    text = text.replace(get_region(), "{region}")
    text = re.sub(r"\bfinetune-(?:dev|prod)(?=-|$)", "{prefix}", text)
    text = _IMPORTED.sub(EXAMPLE_IMPORT, text)
    return _EXECUTION.sub(EXAMPLE_RUN, _RUN.sub(EXAMPLE_RUN, text))
