"""JumpStart's two buckets of a region, as far as the product reads them.

The documents are those of the command (`finetuning_cli/facts/jumpstart`), under the keys they have in AWS. Scripts,
licence and weights are placeholders at the keys that the documents name; any other key is missing, as in AWS.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rehearsal.running import PROJECT, REGION, Emulator

DOCUMENTS = PROJECT / "cli" / "finetuning_cli" / "facts" / "jumpstart"
PUBLIC_BUCKET = f"jumpstart-cache-prod-{REGION}"
PRIVATE_BUCKET = f"jumpstart-private-cache-prod-{REGION}"
_PUBLIC_KEYS = frozenset(
    {"training_script_key", "training_prepacked_script_key", "hosting_script_key", "hosting_eula_key"}
)
_PRIVATE_KEYS = frozenset({"gated_model_key_env_var_value", "hosting_artifact_key", "hosting_prepacked_artifact_key"})
_PLACEHOLDER = b"A placeholder of the rehearsal.\n"


def fill(emulator: Emulator, documents: Path = DOCUMENTS) -> None:
    """Makes both buckets with everything the documents name."""
    s3 = emulator.client("s3")
    for bucket in (PUBLIC_BUCKET, PRIVATE_BUCKET):
        s3.create_bucket(Bucket=bucket)
    named: dict[str, set[str]] = {PUBLIC_BUCKET: set(), PRIVATE_BUCKET: set()}
    for path in sorted(documents.rglob("*.json")):
        content = path.read_bytes()
        s3.put_object(Bucket=PUBLIC_BUCKET, Key=path.relative_to(documents).as_posix(), Body=content)
        for member, key in _members(json.loads(content)):
            if member in _PUBLIC_KEYS:
                named[PUBLIC_BUCKET].add(key)
            elif member in _PRIVATE_KEYS:
                named[PRIVATE_BUCKET].add(f"{key}config.json" if key.endswith("/") else key)
    for bucket, keys in named.items():
        for key in sorted(keys):
            s3.put_object(Bucket=bucket, Key=key, Body=_PLACEHOLDER)


def _members(document: Any) -> Iterator[tuple[str, str]]:
    """Every text in the document with the name of the member it is."""
    if isinstance(document, list):
        for item in document:
            yield from _members(item)
    elif isinstance(document, dict):
        for member, value in document.items():
            if isinstance(value, str):
                yield member, value
            else:
                yield from _members(value)
