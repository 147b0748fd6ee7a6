"""Every failure a user can see: a code, what happened, and what to do.

The text of an error (`str(error)`) is JSON, because Step Functions passes a failed function's message on as text. The
state machine, the console and the failure report all read the same `{code, message, fix}`.
Each `Code` has an entry in docs/runbook.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import accumulate


class Code(StrEnum):
    """The stable name of a failure. It is never renamed, because users search for it."""

    # The upload and its run.json
    UPLOAD_NOT_FOUND = "UPLOAD_NOT_FOUND"
    UPLOAD_WITHOUT_DATA = "UPLOAD_WITHOUT_DATA"
    UPLOAD_FOLDER_TAKEN = "UPLOAD_FOLDER_TAKEN"
    RUN_JSON_INVALID = "RUN_JSON_INVALID"
    RUN_REFUSED = "RUN_REFUSED"
    # Findings of the preflight
    EULA_NOT_ACCEPTED = "EULA_NOT_ACCEPTED"
    MODEL_UNKNOWN = "MODEL_UNKNOWN"
    MODEL_SPEC_UNUSABLE = "MODEL_SPEC_UNUSABLE"
    REGION_UNSUPPORTED = "REGION_UNSUPPORTED"
    TASK_UNSUPPORTED = "TASK_UNSUPPORTED"
    TEMPLATE_INVALID = "TEMPLATE_INVALID"
    HYPERPARAMETER_INVALID = "HYPERPARAMETER_INVALID"
    HYPERPARAMETERS_CONFLICT = "HYPERPARAMETERS_CONFLICT"
    INSTANCE_TYPE_UNSUPPORTED = "INSTANCE_TYPE_UNSUPPORTED"
    MODEL_NOT_IMPORTABLE = "MODEL_NOT_IMPORTABLE"
    BEDROCK_NOT_ENABLED = "BEDROCK_NOT_ENABLED"
    JUDGE_NOT_ALLOWED = "JUDGE_NOT_ALLOWED"
    JUDGE_UNUSABLE = "JUDGE_UNUSABLE"
    TRAINING_DISABLED = "TRAINING_DISABLED"
    TRAINING_PLAN_UNUSABLE = "TRAINING_PLAN_UNUSABLE"
    GATED_WEIGHTS_MISSING = "GATED_WEIGHTS_MISSING"
    ARTIFACT_MISSING = "ARTIFACT_MISSING"
    NAME_TAKEN = "NAME_TAKEN"
    KMS_KEY_UNUSABLE = "KMS_KEY_UNUSABLE"
    ROLE_UNUSABLE = "ROLE_UNUSABLE"
    PRICE_UNKNOWN = "PRICE_UNKNOWN"
    OVER_BUDGET = "OVER_BUDGET"
    OUT_OF_TIME = "OUT_OF_TIME"
    # The promotion of a model from another account
    PROMOTION_DISABLED = "PROMOTION_DISABLED"
    PROMOTION_NOT_APPROVED = "PROMOTION_NOT_APPROVED"
    PROMOTION_UNUSABLE = "PROMOTION_UNUSABLE"
    PROMOTION_DIGEST_DIFFERS = "PROMOTION_DIGEST_DIFFERS"
    ALREADY_PROMOTED = "ALREADY_PROMOTED"
    # The data
    DATASET_REFUSED = "DATASET_REFUSED"
    # The queue
    TURN_TIMED_OUT = "TURN_TIMED_OUT"
    # Training
    TRAINING_FAILED = "TRAINING_FAILED"
    TRAINING_STOPPED = "TRAINING_STOPPED"
    TRAINING_OUT_OF_TIME = "TRAINING_OUT_OF_TIME"
    TRAINING_NO_CAPACITY = "TRAINING_NO_CAPACITY"
    TRAINING_COLUMN_MISSING = "TRAINING_COLUMN_MISSING"
    TRAINING_OUT_OF_MEMORY = "TRAINING_OUT_OF_MEMORY"
    TRAINING_DISK_FULL = "TRAINING_DISK_FULL"
    TRAINING_LICENCE_REFUSED = "TRAINING_LICENCE_REFUSED"
    TRAINING_DATA_UNREADABLE = "TRAINING_DATA_UNREADABLE"
    TRAINING_ARTEFACT_MISSING = "TRAINING_ARTEFACT_MISSING"
    TRAINING_HYPERPARAMETER_REFUSED = "TRAINING_HYPERPARAMETER_REFUSED"
    TRAINING_INSTANCE_FAULT = "TRAINING_INSTANCE_FAULT"
    TRAINING_ACCESS_DENIED = "TRAINING_ACCESS_DENIED"
    TRAINING_NETWORK_BLOCKED = "TRAINING_NETWORK_BLOCKED"
    TRAINING_NCCL_TIMEOUT = "TRAINING_NCCL_TIMEOUT"
    TRAINING_AWS_FAULT = "TRAINING_AWS_FAULT"
    # The approval
    APPROVAL_REJECTED = "APPROVAL_REJECTED"
    APPROVAL_TIMED_OUT = "APPROVAL_TIMED_OUT"
    # The endpoint
    ENDPOINT_FAILED = "ENDPOINT_FAILED"
    ENDPOINT_NO_CAPACITY = "ENDPOINT_NO_CAPACITY"
    ENDPOINT_CAPTURE_DIFFERS = "ENDPOINT_CAPTURE_DIFFERS"
    ENDPOINT_ROLLED_BACK = "ENDPOINT_ROLLED_BACK"
    ENDPOINT_NOT_OWNED = "ENDPOINT_NOT_OWNED"
    ENDPOINT_NAME_TAKEN = "ENDPOINT_NAME_TAKEN"
    ENDPOINT_OUT_OF_TIME = "ENDPOINT_OUT_OF_TIME"
    ENDPOINT_BUSY = "ENDPOINT_BUSY"
    ENDPOINT_ANSWERS_BROKEN = "ENDPOINT_ANSWERS_BROKEN"
    SWEEP_INCOMPLETE = "SWEEP_INCOMPLETE"
    EVALUATION_BELOW_BASE = "EVALUATION_BELOW_BASE"
    EVALUATION_INCONCLUSIVE = "EVALUATION_INCONCLUSIVE"
    # The imported model
    IMPORT_FAILED = "IMPORT_FAILED"
    IMPORT_ACCESS_DENIED = "IMPORT_ACCESS_DENIED"
    IMPORT_OUT_OF_TIME = "IMPORT_OUT_OF_TIME"
    MODEL_NOT_READY = "MODEL_NOT_READY"
    # AWS
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    ACCESS_DENIED = "ACCESS_DENIED"
    REQUEST_INVALID = "REQUEST_INVALID"
    AWS_UNAVAILABLE = "AWS_UNAVAILABLE"
    # The command
    OPENAI_JOB_UNUSABLE = "OPENAI_JOB_UNUSABLE"
    AWS_NOT_CONFIGURED = "AWS_NOT_CONFIGURED"
    DEPLOYMENT_NOT_FOUND = "DEPLOYMENT_NOT_FOUND"
    RUN_NOT_FOUND = "RUN_NOT_FOUND"
    RUN_NOT_STARTED = "RUN_NOT_STARTED"
    REPORT_NOT_WRITTEN = "REPORT_NOT_WRITTEN"
    RUNS_NOT_COMPARABLE = "RUNS_NOT_COMPARABLE"
    LOG_NOT_FOUND = "LOG_NOT_FOUND"
    DOWNLOAD_DAMAGED = "DOWNLOAD_DAMAGED"
    NOT_WAITING_FOR_APPROVAL = "NOT_WAITING_FOR_APPROVAL"
    CLEAN_UP_LATE = "CLEAN_UP_LATE"
    ENDPOINT_NOT_FOUND = "ENDPOINT_NOT_FOUND"
    NOTHING_TO_ROLL_BACK_TO = "NOTHING_TO_ROLL_BACK_TO"
    RUN_HAS_NO_MODEL = "RUN_HAS_NO_MODEL"
    RUN_STILL_RUNNING = "RUN_STILL_RUNNING"
    BUDGET_TOO_SMALL = "BUDGET_TOO_SMALL"
    PARQUET_NOT_INSTALLED = "PARQUET_NOT_INSTALLED"
    BUDGET_SPENT = "BUDGET_SPENT"
    LEFT_BEHIND = "LEFT_BEHIND"
    # The run as a whole
    RUN_ABORTED = "RUN_ABORTED"
    RUN_TIMED_OUT = "RUN_TIMED_OUT"
    STEP_OUT_OF_MEMORY = "STEP_OUT_OF_MEMORY"
    STEP_CRASHED = "STEP_CRASHED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


MAX_LOG_LINES = 12
"""Lines of a job's log kept with an error; status.json links to the full log."""

MAX_CAUSE = 32_768
"""Characters of the cause of an error in Step Functions (`SensitiveCause` of its API). What it does with a longer one
is not documented; it may cut it, which leaves no JSON to read. A state's input and output may have 256 KiB: more ends
the execution with `States.DataLimitExceeded`, which, like `States.Runtime`, `States.ALL` does not catch (Step
Functions' guide on error names).
"""
MAX_TEXT = 2000
MAX_ERROR = 28_000
"""Characters of each text of an error, and of all of it once Lambda has put it into its report as a JSON text, beside
the traceback's lines. The first lines of the log, then the last findings are left out beyond that."""


@dataclass(frozen=True)
class Finding:
    """One problem found by the preflight.

    `field` is the dotted path of the run.json field ("training.instance_type"), or "" for the whole upload.
    """

    code: str
    field: str
    message: str
    fix: str


def limited_text(text: str) -> str:
    """The text, or its first `MAX_TEXT` characters."""
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _shortened_finding(finding: Finding) -> Finding:
    return Finding(finding.code, *map(limited_text, (finding.field, finding.message, finding.fix)))


def _half(text: str) -> str:
    return text[: len(text) // 2] + "…" if len(text) > 1 else text


def _reported_size(error: Mapping[str, object]) -> int:
    """Characters of the error in Lambda's report: JSON in JSON, and Lambda may write what is not ASCII as `\\u…`."""
    return len(json.dumps(json.dumps(error, ensure_ascii=False)))


class FineTuningError(Exception):
    """A failure with a code, a message and a fix.

    Subclasses exist where the state machine or a caller distinguishes a kind by its name.
    """

    def __init__(
        self,
        code: str,
        message: str,
        fix: str,
        *,
        field: str = "",
        findings: Sequence[Finding] = (),
        log: Sequence[str] = (),
    ) -> None:
        self.code = code
        self.message = limited_text(message)
        self.fix = limited_text(fix)
        self.field = limited_text(field)
        self.log = tuple(map(limited_text, log))[-MAX_LOG_LINES:]
        shortened = [_shortened_finding(finding) for finding in findings]
        sizes = accumulate(_reported_size(asdict(finding)) for finding in shortened)
        self.findings = tuple(each for each, size in zip(shortened, sizes, strict=True) if size < MAX_ERROR)
        while _reported_size(self.as_dict()) > MAX_ERROR and (self.log or self.findings):
            self.log, self.findings = self.log[1:], self.findings if self.log else self.findings[:-1]
        while _reported_size(self.as_dict()) > MAX_ERROR:  # characters that JSON writes with several
            self.message, self.fix, self.field = (_half(text) for text in (self.message, self.fix, self.field))
        super().__init__(json.dumps(self.as_dict(), ensure_ascii=False))

    def as_dict(self) -> dict[str, object]:
        """`{code, message, fix}`, with `field`, `findings` and the end of the `log` if there are any."""
        error: dict[str, object] = {"code": str(self.code), "message": self.message, "fix": self.fix}
        if self.field:
            error["field"] = self.field
        if self.findings:
            error["findings"] = [asdict(finding) for finding in self.findings]
        if self.log:
            error["log"] = list(self.log)
        return error


class RunRefused(FineTuningError):
    """The preflight found at least one problem. Has all findings; nothing was spent."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        first = findings[0]
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(Code.RUN_REFUSED, first.message + more, first.fix, findings=findings)


class DatasetRefused(FineTuningError):
    """The data cannot be used: too many invalid lines, no usable rows, or not a data file."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(Code.DATASET_REFUSED, message, fix)


class TrainingFailed(FineTuningError):
    """The training job ended without a model."""


class NoCapacity(FineTuningError):
    """AWS has no capacity for the instance type; another type may have."""

    def __init__(self, message: str) -> None:
        super().__init__(
            Code.TRAINING_NO_CAPACITY,
            message,
            "Try again later, or list other types in training.fallback_instance_types of run.json.",
        )


class EndpointFailed(FineTuningError):
    """The endpoint did not come into service, or its answers are unusable."""


class TransientAwsError(FineTuningError):
    """AWS throttled the call, was unavailable, or does not find what was just created: its reads are eventually
    consistent. The state machine retries errors of this name.
    """
