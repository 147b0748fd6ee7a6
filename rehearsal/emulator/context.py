"""What the stand-ins know of the emulated AWS they live in, and how they call it."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from rehearsal.emulator.children import Trainer
from rehearsal.emulator.faults import Faults
from rehearsal.emulator.identity import ACCOUNT, OPERATOR_KEY, OPERATOR_SECRET
from rehearsal.emulator.permissions import role_session


@dataclass(frozen=True)
class EmulatorContext:
    """One emulator's settings. `endpoint` is its own URL, `state` the folder for what jobs and endpoints write."""

    endpoint: str
    region: str
    state: Path
    trainer: Trainer
    base_model: Path
    parquet_layer: Path
    max_new_tokens: int | None = None
    """Where every answer of an endpoint ends; None leaves it to each request."""
    faults: Faults = field(default_factory=Faults)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    def client(self, service: str, role_arn: str = "") -> Any:
        """A boto3 client of this emulator; with a role, every call is checked against that role's policies."""
        with self._lock:
            if (service, role_arn) not in self._clients:
                self._clients[service, role_arn] = self._new_client(service, role_arn)
            return self._clients[service, role_arn]

    def _new_client(self, service: str, role_arn: str) -> Any:
        access = role_session(role_arn) if role_arn else (OPERATOR_KEY, OPERATOR_SECRET, "")
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=access[0],
            aws_secret_access_key=access[1],
            aws_session_token=access[2] or None,
            config=Config(retries={"max_attempts": 1}, read_timeout=120, max_pool_connections=50),
        )

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a SageMaker resource; SageMaker writes names in small letters there."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{kind}/{name.lower()}"
