"""Saved log queries and budgets, which the emulator's CloudFormation does not make: kept, to be read back.

Nothing is queried and nothing is counted: that a query is right and that a budget tells the topic is not rehearsed.
"""

import json
from typing import Any

from botocore.session import get_session
from ministack import app as ministack
from ministack.services import budgets
from ministack.services.cloudformation import provisioners

from rehearsal.emulator.request_check import constraint_violations

_queries: dict[str, dict[str, Any]] = {}
"""By their physical id."""


def install() -> None:
    """Adds the two resource types, and DescribeQueryDefinitions to the emulator's CloudWatch Logs."""
    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
        "create": lambda logical_id, properties, stack: _save_query(f"{stack}-{logical_id}", properties),
        "update": lambda physical_id, old, new, stack: _save_query(physical_id, new),
        "delete": lambda physical_id, properties: _queries.pop(physical_id, None),
    }
    provisioners._RESOURCE_HANDLERS["AWS::Budgets::Budget"] = {
        "create": lambda logical_id, properties, stack: _make_budget(f"{stack}-{logical_id}", properties),
        "update": lambda physical_id, old, new, stack: _change_budget(physical_id, new),
        "delete": lambda physical_id, properties: budgets._delete_budget({"BudgetName": physical_id}),
    }
    handle_others = ministack.SERVICE_HANDLERS["logs"]

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".DescribeQueryDefinitions"):
            return _describe_queries(json.loads(body or b"{}"))
        return await handle_others(method, path, headers, body, query)

    ministack.SERVICE_HANDLERS["logs"] = handle


def _save_query(physical_id: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    names = {"Name": "name", "QueryString": "queryString", "LogGroupNames": "logGroupNames"}
    query = {name: properties[key] for key, name in names.items() if key in properties}
    query["parameters"] = [
        {key[:1].lower() + key[1:]: value for key, value in parameter.items()}
        for parameter in properties.get("Parameters", [])
    ]
    shape = get_session().get_service_model("logs").operation_model("PutQueryDefinition").input_shape
    if shape and (wrong := list(constraint_violations(shape, query))):
        raise ValueError("; ".join(wrong))
    _queries[physical_id] = query | {"queryDefinitionId": physical_id}
    return physical_id, {"QueryDefinitionId": physical_id}


def _describe_queries(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    prefix = request.get("queryDefinitionNamePrefix", "")
    found = [query for query in _queries.values() if query["name"].startswith(prefix)]
    return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps({"queryDefinitions": found}).encode()


def _make_budget(name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    notifications = properties.get("NotificationsWithSubscribers", [])
    request = {"Budget": _as_api(properties, name), "NotificationsWithSubscribers": notifications}
    status, _, body = budgets._create_budget(request)
    if status != 200:
        raise ValueError(body.decode())
    return name, {}


def _change_budget(name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    budgets._update_budget({"NewBudget": _as_api(properties, name)})
    return name, {}


def _as_api(properties: dict[str, Any], name: str) -> dict[str, Any]:
    """CloudFormation's budget as the API takes it, where an amount is text."""
    budget = {"BudgetName": name, **properties["Budget"]}
    limit = budget["BudgetLimit"]
    return {**budget, "BudgetLimit": {**limit, "Amount": str(limit["Amount"])}}
