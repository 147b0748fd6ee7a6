"""Which permissions are made use of: every grant of every role, and whether a call has needed it yet.

A grant is one action on one resource under one condition, as a role's policy states them. It counts as used when the
emulator's own evaluator allowed a call that all three cover.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import iam

from rehearsal.emulator.identity import ACCOUNT

Grant = tuple[str, str, str, str]
"""Role, action, resource, and the condition as JSON."""
_used: set[Grant] = set()


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


def _noting(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate_and_note(call: Any, policies: list[list[Any]], *limits: Any) -> Any:
        result = evaluate(call, policies, *limits)
        if result.decision == "Allow" and ":assumed-role/" in call.principal_arn:
            role = iam_evaluator._role_name_from_assumed_arn(call.principal_arn)
            _used.update(
                grant
                for grant, conditions in _grants(role, policies)
                if iam_evaluator._action_matches(call.action, [grant[1]], [])
                and iam_evaluator._resource_matches(call.resource_arn, [grant[2]], [])
                and iam_evaluator._conditions_met(conditions, call)
            )
        return result

    return evaluate_and_note


def _grants(role: str, policies: list[list[Any]]) -> Iterator[tuple[Grant, dict[str, Any]]]:
    """Each grant of these parsed policies, with its condition as it is evaluated."""
    for statement in (statement for policy in policies for statement in policy if statement.effect == "Allow"):
        condition = json.dumps(statement.conditions, sort_keys=True)
        for action in statement.actions:
            for resource in statement.resources:
                yield (role, action, resource, condition), statement.conditions
