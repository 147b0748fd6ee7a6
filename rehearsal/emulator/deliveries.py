"""IAM, for what AWS's services do among themselves: an event starts a run, a schedule and a workflow call functions.

The emulator delivers without asking. Here the role of the rule, the schedule or the state machine is asked, by its
trust policy and its permissions, and where a rule has no role, the function's own policy. What is refused is not done.
"""

import json
from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_region
from ministack.services import eventbridge, iam, lambda_svc, stepfunctions

from rehearsal.emulator.events import PUT_EVENTS, execution_of_task
from rehearsal.emulator.identity import ACCOUNT
from rehearsal.emulator.permissions import denials

_ACTIONS = {"states": "states:StartExecution", "lambda": "lambda:InvokeFunction"}
"""What a delivery takes, by the service it goes to. For a queue or a topic the emulator asks the receiver's policy."""


def install() -> None:
    """Asks before EventBridge, Scheduler and Step Functions act."""
    eventbridge._invoke_target = _if_allowed(eventbridge._invoke_target)
    stepfunctions._execute_task = _if_the_workflow_may(stepfunctions._execute_task)
    stepfunctions._SERVICE_DISPATCH[PUT_EVENTS] = _if_it_may_publish(stepfunctions._SERVICE_DISPATCH[PUT_EVENTS])


def _if_allowed(invoke: Callable[..., None]) -> Callable[..., None]:
    def invoke_if_allowed(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], *rest: Any) -> None:
        resource = str(target.get("Arn", ""))
        action = _ACTIONS.get(resource.split(":")[2])
        service = "scheduler" if event.get("Source") == "aws.scheduler" else "events"
        if action is None:
            invoke(target, event, rule, *rest)
        elif role := target.get("RoleArn"):
            if _role_may(role, service, action, resource):
                invoke(target, event, rule, *rest)
        elif _lets_in(resource, service, action, str(rule.get("Arn", ""))):
            invoke(target, event, rule, *rest)

    return invoke_if_allowed


def _if_the_workflow_may(execute: Callable[..., Any]) -> Callable[..., Any]:
    def execute_if_allowed(state: dict[str, Any], given: Any, execution: dict[str, Any], *rest: Any) -> Any:
        if ":::lambda:invoke" in state.get("Resource", ""):
            machine = stepfunctions._state_machines[execution["stateMachineArn"]]
            function = lambda_svc._func_arn(lambda_svc._resolve_request_scoped_name(state["Arguments"]["FunctionName"]))
            if not _role_may(machine["roleArn"], "states", _ACTIONS["lambda"], function):
                raise stepfunctions._ExecutionError("Lambda.AWSLambdaException", f"AccessDenied: {function}")
        return execute(state, given, execution, *rest)

    return execute_if_allowed


def _if_it_may_publish(put: Callable[..., Any]) -> Callable[..., Any]:
    """The emulator's PutEvents takes the events of any workflow."""

    def put_if_allowed(resource: str, arguments: dict[str, Any]) -> Any:
        machine = stepfunctions._state_machines[execution_of_task.get()["stateMachineArn"]]
        for entry in arguments["Entries"]:
            bus = f"arn:aws:events:{get_region()}:{ACCOUNT}:event-bus/{entry.get('EventBusName', 'default')}"
            keys = {"events:source": entry["Source"], "events:detail-type": entry["DetailType"]}
            if not _role_may(machine["roleArn"], "states", "events:PutEvents", bus, keys):
                raise stepfunctions._ExecutionError("EventBridge.AccessDeniedException", f"AccessDenied: {bus}")
        return put(resource, arguments)

    return put_if_allowed


def _role_may(
    role_arn: str, service: str, action: str, resource: str, keys_of_action: dict[str, str] | None = None
) -> bool:
    """Whether the service may assume the role and, with it, do this."""
    name = role_arn.rsplit("/", 1)[-1]
    principal, keys = f"{service}.amazonaws.com", {"aws:sourceaccount": ACCOUNT}
    trust = json.loads(iam._roles.get_scoped(ACCOUNT, None, name)["AssumeRolePolicyDocument"])
    assume = _call(principal, "sts:AssumeRole", role_arn, keys)
    assumed = _call(f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{service}", action, resource, keys_of_action or {})
    policies = iam_evaluator._gather_role_policies(name, ACCOUNT)
    return _noted(assume, iam_evaluator.evaluate_resource_policy(trust, assume, service=principal)) and _noted(
        assumed, iam_evaluator.evaluate(assumed, policies)
    )


def _lets_in(function: str, service: str, action: str, source: str) -> bool:
    """Whether the function's own policy lets the service call it for this rule."""
    principal, keys = f"{service}.amazonaws.com", {"aws:sourceaccount": ACCOUNT, "aws:sourcearn": source}
    call = _call(principal, action, function, keys)
    found = lambda_svc.function_policy_for_arn(function)
    return _noted(call, iam_evaluator.evaluate_resource_policy(found and found[0], call, service=principal))


def _call(principal: str, action: str, resource: str, keys: dict[str, str]) -> Any:
    return iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=resource.split(":")[3],
        service_context=keys,
    )


def _noted(call: Any, result: Any) -> bool:
    """Whether it is allowed; a refusal is one of the rehearsal's denials."""
    if result.decision == "Allow":
        return True
    denials.append({"caller": call.principal_arn, "action": call.action, "resource": call.resource_arn})
    return False
