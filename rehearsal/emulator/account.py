"""Service Quotas and the Price List, of which the emulator has none: as much as the product asks of them.

Every quota is one invented account's; no price here is AWS's of today. What is rehearsed is how they are read.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

Answer = tuple[int, dict[str, str], bytes]

QUOTAS = {
    "ml.g5.xlarge": 2, "ml.g5.2xlarge": 4, "ml.g5.4xlarge": 16, "ml.g5.8xlarge": 2, "ml.g5.12xlarge": 16,
    "ml.g5.16xlarge": 2, "ml.g5.24xlarge": 2, "ml.g5.48xlarge": 2,
    "ml.g6.xlarge": 4, "ml.g6.2xlarge": 2, "ml.g6.4xlarge": 2, "ml.g6.8xlarge": 2, "ml.g6.12xlarge": 2,
    "ml.g6.16xlarge": 2, "ml.g6.24xlarge": 2, "ml.g6.48xlarge": 2,
    "ml.g4dn.12xlarge": 2, "ml.p3dn.24xlarge": 4, "ml.p4d.24xlarge": 1, "ml.p4de.24xlarge": 1, "ml.p5.48xlarge": 1,
}  # fmt: skip
"""Instances of each type this account may run, for each of the uses."""

USD_PER_HOUR = {
    "ml.g5.xlarge": 1.41, "ml.g5.2xlarge": 1.52, "ml.g5.4xlarge": 2.03, "ml.g5.8xlarge": 3.06, "ml.g5.12xlarge": 7.09,
    "ml.g5.16xlarge": 5.12, "ml.g5.24xlarge": 10.18, "ml.g5.48xlarge": 20.36,
    "ml.g6.xlarge": 1.13, "ml.g6.2xlarge": 1.22, "ml.g6.4xlarge": 1.65, "ml.g6.8xlarge": 2.52, "ml.g6.12xlarge": 5.75,
    "ml.g6.16xlarge": 4.25, "ml.g6.24xlarge": 8.34, "ml.g6.48xlarge": 16.69,
    "ml.g4dn.12xlarge": 4.89, "ml.p3dn.24xlarge": 35.89,
    "ml.p4d.24xlarge": 25.25, "ml.p4de.24xlarge": 31.57, "ml.p5.48xlarge": 63.30,
}  # fmt: skip
"""Plausible prices."""

_USES = {"training job usage": "Training", "endpoint usage": "Hosting"}


def _quotas() -> Iterator[dict[str, Any]]:
    for number, (instance_type, value) in enumerate(QUOTAS.items()):
        for use_number, use in enumerate(_USES):
            yield {
                "ServiceCode": "sagemaker",
                "ServiceName": "Amazon SageMaker",
                "QuotaCode": f"L-{use_number}{number:07X}",
                "QuotaName": f"{instance_type} for {use}",
                "Value": float(value),
                "Unit": "None",
                "Adjustable": True,
                "GlobalQuota": False,
            }


LAMBDA_QUOTA = {
    "ServiceCode": "lambda",
    "ServiceName": "AWS Lambda",
    "QuotaCode": "L-B99A9384",
    "QuotaName": "Concurrent executions",
    "Value": 10.0,
    "Unit": "None",
    "Adjustable": True,
    "GlobalQuota": False,
}
"""That of a new account."""

MOST_IMPORTED_MODELS = 20
"""Imported models that this account may have; a new account of AWS has 3."""

MOST_IMPORTS_AT_ONCE = 1
"""Import jobs in progress: the quota “Concurrent model import jobs” of every account, which cannot be raised."""

BEDROCK_QUOTA = {
    "ServiceCode": "bedrock",
    "ServiceName": "Amazon Bedrock",
    "QuotaCode": "L-45B04988",
    "QuotaName": "Imported models per account",
    "Value": float(MOST_IMPORTED_MODELS),
    "Unit": "None",
    "Adjustable": True,
    "GlobalQuota": False,
}


def _list_quotas(request: dict[str, Any]) -> dict[str, Any]:
    quotas = {"sagemaker": list(_quotas()), "lambda": [LAMBDA_QUOTA], "bedrock": [BEDROCK_QUOTA]}
    return {"Quotas": quotas.get(request.get("ServiceCode", ""), [])}


def _products(request: dict[str, Any]) -> dict[str, Any]:
    """Products as the Price List gives them: JSON documents as text, narrowed by TERM_MATCH filters."""
    wanted = {item["Field"]: item["Value"] for item in request.get("Filters", [])}
    return {"PriceList": [json.dumps(p) for p in _price_list() if _matches(p["product"]["attributes"], wanted)]}


def _price_list() -> Iterator[dict[str, Any]]:
    for instance_type, price in USD_PER_HOUR.items():
        for component in _USES.values():
            sku = f"{component}{instance_type}".upper().replace(".", "")
            attributes = {
                "servicecode": "AmazonSageMaker",
                "instanceName": instance_type,
                "instanceType": f"{instance_type}-{component}",
                "instancetype": f"{instance_type}-{component}",
                "component": component,
                "platoinstancename": instance_type,
                "platoinstancetype": component,
                "regionCode": "us-east-1",
                "usagetype": f"USE1-{'Train' if component == 'Training' else 'Host'}:{instance_type}",
            }
            dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{price:.10f}"}, "description": "rehearsed price"}
            terms = {"OnDemand": {f"{sku}.T": {"sku": sku, "priceDimensions": {f"{sku}.T.D": dimension}}}}
            product = {"sku": sku, "productFamily": "ML Instance", "attributes": attributes}
            yield {"product": product, "serviceCode": "AmazonSageMaker", "terms": terms}


def _matches(attributes: dict[str, str], wanted: dict[str, str]) -> bool:
    """The region is left out of the comparison: the rehearsal's prices are the same everywhere."""
    fields = {field: value for field, value in wanted.items() if field not in {"regionCode", "location"}}
    return all(attributes.get(field) == value for field, value in fields.items())


_OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "ListServiceQuotas": _list_quotas,
    "GetProducts": _products,
}


async def handle_request(
    method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
) -> Answer:
    """The emulator's interface of a service."""
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    kind = {"Content-Type": "application/x-amz-json-1.1"}
    if operation not in _OPERATIONS:
        code = "UnknownOperationException"
        return 400, kind, json.dumps({"__type": code, "message": f"{operation}: {code}"}).encode()
    return 200, kind, json.dumps(_OPERATIONS[operation](json.loads(body or b"{}"))).encode()
