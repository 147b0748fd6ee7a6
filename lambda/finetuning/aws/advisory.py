"""Services whose answer improves a plan and whose silence must not stop it: prices, quotas.

In a network without their endpoints a call ends in a timeout; it is a short one, and nothing is tried again.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

QUICKLY = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1})


@cache
def advisory_client(service: str, region: str) -> Any:
    """A client that gives up soon. Untyped, as `clients.client` is."""
    create: Callable[..., Any] = boto3.client
    return create(service, region_name=region, config=QUICKLY)
