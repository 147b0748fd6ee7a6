"""A new run.json, and the licence that it may accept."""

from pathlib import Path
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.clients import QUICKLY
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.spec import cache_bucket, public_address
from finetuning_cli.preflight.documents import FACTS, SpecFolder

SCHEMA = Path(__file__).resolve().parents[1] / "run.schema.json"
_UNSIGNED = Config(signature_version=UNSIGNED)


def run_document(model: str, task: str, *, accept_eula: bool, max_cost_usd: float | None) -> dict[str, Any]:
    """What `finetune init` writes: everything else keeps its default."""
    limit = {"training": {"max_cost_usd": max_cost_usd}} if max_cost_usd else {}
    return {"$schema": SCHEMA.as_uri(), "model": model, "task": task, "accept_eula": accept_eula} | limit


class Licence:
    """The licence of a model: `page` is its publisher's, `address` that of the text, both for a browser."""

    def __init__(self, page: str, key: str, region: str) -> None:
        self.page, self._key, self._region = page, key, region

    @classmethod
    def of(cls, model: str, region: str) -> "Licence | None":
        """None for a model without a licence to accept."""
        page = support(model).family.licence_url
        return cls(page, SpecFolder(FACTS).spec(model).hosting_eula_key or "", region) if page else None

    @property
    def address(self) -> str:
        return public_address(self._region, self._key)

    def text(self) -> str:
        """The text that JumpStart asks to accept; without credentials. Raises `OSError` if it cannot be read."""
        s3 = boto3.client("s3", region_name=self._region, config=QUICKLY.merge(_UNSIGNED))
        try:
            body: bytes = s3.get_object(Bucket=cache_bucket(self._region), Key=self._key)["Body"].read()
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"Cannot read the text here ({error}). Open the link in a browser.") from error
        return body.decode("utf-8", errors="replace")
