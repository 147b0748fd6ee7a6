"""What Bedrock's description of an import job means for a run: keep waiting, go on, or fail with a reason."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from finetuning.bedrock.facts import import_facts
from finetuning.errors import Code, EndpointFailed
from finetuning.runs.outcomes import Outcome

LONGEST_IMPORT = timedelta(hours=6)
"""AWS states no time; an import of 8B is said to take some minutes, and copies grow with the model."""

_KEPT = "The tuned model is kept:"
CAUSES: tuple[tuple[re.Pattern[str], Code, str], ...] = (
    (
        re.compile(r"architecture|unsupported|not supported|dtype|safetensors|config\.json", re.IGNORECASE),
        Code.MODEL_NOT_IMPORTABLE,
        f"Bedrock does not import this model. {_KEPT} serve it on an instance with `finetune deploy RUN --target "
        "sagemaker`.",
    ),
    (
        re.compile(r"access ?denied|not authorized|permission|\bassume\b|\brole\b|\bkms\b", re.IGNORECASE),
        Code.IMPORT_ACCESS_DENIED,
        "Check that no policy of the organisation denies it; deploying the stacks again restores the role of imports. "
        f"{_KEPT} then run `finetune deploy RUN`.",
    ),
    (
        re.compile(r"quota|limit exceeded|too many", re.IGNORECASE),
        Code.QUOTA_EXCEEDED,
        f"Delete an imported model that is not needed, or request a higher quota “{import_facts().quota.value.name}”. "
        f"{_KEPT} then run `finetune deploy RUN`.",
    ),
)
"""By words of Bedrock's failure message, which AWS does not document."""


def import_outcome(job: Mapping[str, Any], now: datetime) -> Outcome:
    """Reads a GetModelImportJob response. Raises `EndpointFailed` for an import that failed, or takes too long."""
    name, status = job["importedModelName"], job["status"]
    if status == "Completed":
        return Outcome.COMPLETED
    if status == "Failed":
        reason = str(job.get("failureMessage") or "Bedrock gave no reason")
        raise explained(name, reason)
    waited = now - job["creationTime"]
    if waited > LONGEST_IMPORT:
        raise EndpointFailed(
            Code.IMPORT_OUT_OF_TIME,
            f"The import of {name} is still {status} after {waited.total_seconds() / 3600:.1f} hours.",
            f"Bedrock cannot stop an import; its model is deleted once it is there. {_KEPT} try again with `finetune "
            "deploy RUN`.",
        )
    return Outcome.IN_PROGRESS


def explained(name: str, reason: str) -> EndpointFailed:
    """The error of an import that failed for this reason."""
    message = f"The import of {name} failed: {reason}"
    for pattern, code, fix in CAUSES:
        if pattern.search(reason):
            return EndpointFailed(code, message, fix)
    return EndpointFailed(
        Code.IMPORT_FAILED, message, f"{_KEPT} try again with `finetune deploy RUN`, or add `--target sagemaker`."
    )
