"""boto3 clients of this process: one each, with the SDK's own retries."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

RETRIES = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=60)


@cache
def client(service: str) -> Any:
    """The client of a service ("s3", "sagemaker" …), created at first use and kept for warm starts.

    Untyped: boto3 makes its clients at run time.
    """
    return boto3.client(service, config=RETRIES)
