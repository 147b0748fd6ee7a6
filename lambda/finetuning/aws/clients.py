"""boto3 clients of this process: one each, with the SDK's own retries."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

RETRIES = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=60)

S3 = RETRIES.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
"""What S3 takes anyway, but not what botocore signs links with: in us-east-1 that is Signature Version 2, which S3
refuses for objects encrypted with KMS, and elsewhere the global host, which may redirect and so break the signature."""


@cache
def client(service: str) -> Any:
    """The client of a service ("s3", "sagemaker" …), created at first use and kept for warm starts.

    Untyped: boto3 makes its clients at run time.
    """
    return boto3.client(service, config=S3 if service == "s3" else RETRIES)
