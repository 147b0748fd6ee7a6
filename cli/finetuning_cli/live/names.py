"""The names of what `finetune first-run` creates. What it deletes is recognised by them, so they match nothing else."""

import re

FIRST = "first-run-check"
"""The name of the first upload, and of the endpoint that both runs share."""
SECOND = "first-run-check-update"
UPLOADS = (FIRST, SECOND)
_RUN_ID = rf"{FIRST}(?:-update)?-[0-9a-f]{{8}}"
_RESOURCE = re.compile(rf"{FIRST}|{_RUN_ID}(?:-base|-candidate|-\d+)?")


def is_run(run_id: str) -> bool:
    return re.fullmatch(_RUN_ID, run_id) is not None


def is_resource(name: str, prefix: str) -> bool:
    """True for the name of a job, endpoint, configuration, model or model package group of the runs."""
    return name.startswith(f"{prefix}-") and _RESOURCE.fullmatch(name.removeprefix(f"{prefix}-")) is not None


def is_object(key: str) -> bool:
    """True for a key of their uploads or of their files: `runs/<upload or run>/…`."""
    parts = key.split("/", 2)
    return len(parts) == 3 and parts[0] == "runs" and (parts[1] in UPLOADS or is_run(parts[1]))
