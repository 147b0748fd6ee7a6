"""IAM's SimulatePrincipalPolicy and Access Analyzer's ValidatePolicy, answered by the emulator's own evaluator.

Not emulated: permissions boundaries and resource policies in a simulation, pages of results, and every finding of
ValidatePolicy but those about a document's grammar (Access Analyzer knows about a hundred more).
"""

import json
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id
from ministack.services import iam

Parameters = dict[str, Any]
_DECISIONS = {"Allow": "allowed", "Deny": "explicitDeny", "ImplicitDeny": "implicitDeny"}


def install() -> None:
    """The emulator's own simulation ignores condition keys and all resources but the first."""
    if "SimulatePrincipalPolicy" not in iam._IAM_HANDLERS:
        raise RuntimeError("the emulator no longer has a SimulatePrincipalPolicy to replace")
    iam._IAM_HANDLERS["SimulatePrincipalPolicy"] = _simulate


def _simulate(parameters: Parameters) -> Any:
    principal = iam._p(parameters, "PolicySourceArn")
    role = principal.rpartition("/")[2]
    if ":role/" not in principal or iam._roles.get(role) is None:
        return iam._error(404, "NoSuchEntity", f"The role with name {role} cannot be found.", ns="iam")
    policies = iam_evaluator._gather_role_policies(role, get_account_id())
    keys = {name.lower(): values for name, values in _context(parameters)}
    results = "".join(
        _result(principal, action, resource, keys, policies)
        for action in _members(parameters, "ActionNames.member.")
        for resource in list(_members(parameters, "ResourceArns.member.")) or ["*"]
    )
    answer = f"<EvaluationResults>{results}</EvaluationResults><IsTruncated>false</IsTruncated>"
    body = f"<SimulatePrincipalPolicyResult>{answer}</SimulatePrincipalPolicyResult>"
    return iam._xml(200, "SimulatePrincipalPolicyResponse", body, ns="iam")


def _result(principal: str, action: str, resource: str, keys: dict[str, Any], policies: list[list[Any]]) -> str:
    context = iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type="AssumedRole",
        principal_account=get_account_id(),
        action=action,
        resource_arn=resource,
        region=keys.get("aws:requestedregion"),
        secure_transport=True,
        service_context={"aws:tagkeys": None} | keys,
    )
    decision = iam_evaluator.evaluate(context, policies).decision
    missing = {
        key
        for statement in (statement for policy in policies for statement in policy)
        if iam_evaluator._action_matches(action, statement.actions, statement.not_actions)
        and iam_evaluator._resource_matches(resource, statement.resources, statement.not_resources)
        for block in statement.conditions.values()
        for key in block
        if key.lower() not in keys
    }
    members = "".join(f"<member>{escape(key)}</member>" for key in sorted(missing))
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{_DECISIONS[decision]}</EvalDecision><MatchedStatements></MatchedStatements>"
        f"<MissingContextValues>{members}</MissingContextValues></member>"
    )


def _context(parameters: Parameters) -> Iterator[tuple[str, Any]]:
    """Each key that the request gives a value: a list where the key's type is one."""
    number = 1
    while name := iam._p(parameters, f"ContextEntries.member.{number}.ContextKeyName"):
        values = list(_members(parameters, f"ContextEntries.member.{number}.ContextKeyValues.member."))
        is_list = iam._p(parameters, f"ContextEntries.member.{number}.ContextKeyType").endswith("List")
        yield name, values if is_list else values[0]
        number += 1


def _members(parameters: Parameters, prefix: str) -> Iterator[str]:
    number = 1
    while value := iam._p(parameters, f"{prefix}{number}"):
        yield value
        number += 1


async def validate(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
    """Access Analyzer, of which there is one operation here."""
    kind = {"Content-Type": "application/json"}
    if path.rstrip("/") != "/policy/validation":
        return 404, kind, json.dumps({"message": f"not emulated: {path}"}).encode()
    wrong = iam_evaluator.validate_policy_document(json.loads(body)["policyDocument"])
    finding = {
        "findingType": "ERROR",
        "issueCode": "SYNTAX_ERROR_IN_POLICY",
        "findingDetails": wrong,
        "learnMoreLink": "https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-policy-validation.html",
        "locations": [],
    }
    return 200, kind, json.dumps({"findings": [finding] if wrong else []}).encode()
