"""The boto3 clients of this process, one for each service, with the SDK's own retries."""

from collections.abc import Callable
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

RETRIES = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=60)

S3 = RETRIES.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"}, max_pool_connections=20))
"""For presigned links: by default botocore signs them with Signature Version 2 in us-east-1, which S3 rejects for
objects encrypted with KMS, and elsewhere for the global host, which may redirect and so break the signature. The pool
has a connection for each copy that is made at the same time (`s3_streams`)."""

ONCE = RETRIES.merge(Config(retries={"total_max_attempts": 1}, read_timeout=70))
"""For invoking an endpoint. SageMaker gives a container 60 seconds: with retries, one that hangs would be waited for
five times, and one that is too slow would get five requests at once."""

QUICKLY = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1})
"""For services that improve a plan but are not needed for it, such as prices and quotas. In a network without their
endpoints a call ends in a timeout."""

ADVISED = QUICKLY.merge(Config(retries={"mode": "standard", "total_max_attempts": 4}))
"""For the quotas and what is in use of them: some twenty pages and hundreds of descriptions, which AWS throttles."""

FIRST = Config(connect_timeout=1, read_timeout=20, retries={"total_max_attempts": 1})
"""For the stack's outputs, which each command reads first: without a network it should not wait for long. No function
calls CloudFormation."""

ONCE_IMPORTED = ONCE.merge(Config(read_timeout=60))
"""For invoking an imported model. The wait for one that is not loaded comes on top, within the function's time."""

JUDGING = ONCE.merge(Config(read_timeout=15))
"""For asking a judge for one word. The batch asks again what failed, and a throttled step is retried."""

_CONFIGS = {"s3": S3, "sagemaker-runtime": ONCE, "bedrock-runtime": ONCE_IMPORTED, "cloudformation": FIRST}
_ADVISORY = {"service-quotas": ADVISED, "sagemaker": ADVISED}


@cache
def client(service: str) -> Any:
    """The client of a service ("s3", "sagemaker" …), created at first use and kept for warm starts.

    Untyped, because boto3 creates its clients at run time.
    """
    return boto3.client(service, config=_CONFIGS.get(service, RETRIES))


@cache
def advisory_client(service: str, region: str) -> Any:
    """A client with short timeouts, and few retries or none. Untyped, as `client` is."""
    create: Callable[..., Any] = boto3.client
    return create(service, region_name=region, config=_ADVISORY.get(service, QUICKLY))
