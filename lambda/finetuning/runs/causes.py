"""Why a training job failed and what to do: known causes, matched with SageMaker's reason and the job's log.

SageMaker's `FailureReason` is often only "AlgorithmError: ExecuteUserScriptError"; the script's error is in its log.
The `source` of a cause names where its words come from; "assumed" means that no JumpStart job has shown them yet.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

from finetuning.errors import Code, TrainingFailed


@dataclass(frozen=True)
class Cause:
    """A known cause. `words` matches its text; `meaning` and `fix` are for the user."""

    code: Code
    words: re.Pattern[str]
    meaning: str
    fix: str
    source: str


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


CAUSES = (
    Cause(
        Code.TRAINING_OUT_OF_MEMORY,
        _words(r"CUDA out of memory", r"OutOfMemoryError", r"CUBLAS_STATUS_ALLOC_FAILED"),
        "The GPUs ran out of memory: the batch is too large or the rows are too long.",
        "Lower per_device_train_batch_size or max_input_length, set int8_quantization, or choose a larger "
        "training.instance_type.",
        "PyTorch's FAQ: its allocator raises this",
    ),
    Cause(
        Code.TRAINING_OUT_OF_MEMORY,
        _words(r"instance type with more memory", r"exit code:? (137|-9)\b", r"signal (9|SIGKILL)", r"\bMemoryError\b"),
        "The instance ran out of main memory, and the operating system killed the script.",
        "Use a training.instance_type with more memory, or set max_train_samples.",
        "the kernel's SIGKILL is exit code 137; SageMaker's wording is assumed",
    ),
    Cause(
        Code.TRAINING_DISK_FULL,
        _words(r"No space left on device", r"\bENOSPC\b", r"insufficient disk space"),
        "The instance's disk was full.",
        "Use a training.instance_type with more storage, or train on less data.",
        "the operating system's error",
    ),
    Cause(
        Code.TRAINING_LICENCE_REFUSED,
        _words(r"\bEULA\b", r"end.user licen[cs]e", r"gated (repo|model)", r"access to (the )?model .{0,80}restricted"),
        "Access to the weights was refused: the job did not prove that the licence is accepted.",
        'Set "accept_eula": true in run.json. If it is set, deploy the stage with the other value of -c gated_weights '
        "(env or channel): the two pass the acceptance in different ways.",
        "assumed",
    ),
    Cause(
        Code.TRAINING_LICENCE_REFUSED,
        _words(
            r"jumpstart-private-cache-prod.{0,300}(AccessDenied|Access Denied|Forbidden|\(403\))",
            r"(AccessDenied|Access Denied|Forbidden|\(403\)).{0,300}jumpstart-private-cache-prod",
        ),
        "Access to the gated weights was denied: the licence is not accepted for this account, or the job may not read "
        "JumpStart's private bucket.",
        'Set "accept_eula": true in run.json. If it is set, deploy the stage with the other value of -c gated_weights '
        "(env or channel).",
        "S3's error with JumpStart's bucket; that a job shows it is assumed",
    ),
    Cause(
        Code.TRAINING_ACCESS_DENIED,
        _words(
            r"kms:\w+", r"KMS(\.|InvalidState|Disabled|NotFound)\w*Exception", r"KMS key .{0,120}(disabled|pending|not)"
        ),
        "The job could not use the stage's encryption key.",
        "Enable the key, and check that no policy of the organisation denies its use. Deploying the stacks again "
        "restores the roles; then start again with `finetune submit --again RUN`.",
        "KMS's errors; that a job shows them is assumed",
    ),
    Cause(
        Code.TRAINING_ACCESS_DENIED,
        _words(r"AccessDenied", r"Access Denied", r"not authorized to perform", r"\(403\)"),
        "AWS denied the job a call.",
        "Check that no policy of the organisation or of the VPC endpoint denies it. Deploying the stacks again "
        "restores the roles; then start again with `finetune submit --again RUN`.",
        "IAM's and S3's errors",
    ),
    Cause(
        Code.TRAINING_NETWORK_BLOCKED,
        _words(
            r"Could not connect to the endpoint URL",
            r"Connect timeout on endpoint URL",
            r"EndpointConnectionError",
            r"Network is unreachable",
            r"Temporary failure in name resolution",
            r"Name or service not known",
            r"MaxRetryError",
        ),
        "The job could not reach a service: its subnets have no route to it.",
        "The stage's jobs reach S3 by the VPC's gateway endpoint and nothing else. Deploy the stacks again to restore "
        "its routes. If the script needs another service, set another model_version.",
        "botocore's and the operating system's errors",
    ),
    Cause(
        Code.TRAINING_ARTEFACT_MISSING,
        _words(r"KeyError: ['\"](SageMaker\w*|sagemaker_\w+|SM_\w+|accept_eula)['\"]"),
        "JumpStart's script lacks a setting that it expects from the request, not a column of the data.",
        "Deploy the stage with the other value of -c gated_weights (env or channel), or set another model_version in "
        "run.json.",
        "Python's KeyError with the names of JumpStart's environment; that its script raises it is assumed",
    ),
    Cause(
        Code.TRAINING_COLUMN_MISSING,
        _words(
            r"KeyError: ['\"](?P<column>.+)['\"]",
            r"column .{0,80}(does not exist|not (found|in the dataset))",
            r"does not fit the row",
        ),
        "The script needs a column that a row does not have: the template or the task does not match the data.",
        "Compare the columns in dataset.json with the template's {keys}. Set task in run.json if it was detected "
        "incorrectly.",
        "Python's KeyError; that JumpStart's script raises it is assumed",
    ),
    Cause(
        Code.TRAINING_DATA_UNREADABLE,
        _words(
            r"No S3 objects found under S3 URL",
            r"Data download failed",
            r"JSONDecodeError",
            r"no \.?(jsonl|json|csv|txt) files?",
            r"(exactly|only) one .{0,40}file",
            r"DatasetGenerationError",
            r"ArrowInvalid",
        ),
        "A channel had no data, or data in a format that the script cannot read.",
        "Look at runs/<run-id>/dataset/ in the artifacts bucket. If no one changed it, this is a defect: report it "
        "with the job's log.",
        "the first two are SageMaker's; the others are those of the datasets library, assumed for JumpStart's script",
    ),
    Cause(
        Code.TRAINING_ARTEFACT_MISSING,
        _words(r"\bNoSuchKey\b", r"\(404\)", r"could not find model data", r"model artifacts? .{0,60}(not|missing)"),
        "JumpStart's script or weights are not at the location in the model's specification.",
        "Set another model_version in run.json, or another training.instance_type.",
        "S3's error; that a job fails with it is assumed",
    ),
    Cause(
        Code.TRAINING_HYPERPARAMETER_REFUSED,
        _words(
            r"unrecognized arguments",
            r"not used by the HfArgumentParser",
            r"invalid (choice|\w+ value):",
            r"hyperparameter.{0,60}(invalid|not (valid|supported|allowed))",
            r"at most one of instruction_tuned and chat_dataset",
            r"exactly one of int8_quantization and enable_fsdp",
        ),
        "The training script rejected a hyperparameter.",
        "Remove the hyperparameter it names from run.json, or set another model_version. `finetune models --json` "
        "lists the defaults.",
        "argparse and transformers; that JumpStart's script parses with them is assumed",
    ),
    Cause(
        Code.TRAINING_NCCL_TIMEOUT,
        _words(r"\bNCCL.{0,80}time.?out", r"collective operation time.?out", r"Watchdog caught collective"),
        "The GPUs waited for each other too long, because one had stopped: often out of memory, or a lost process.",
        "Read the log above that line. Start again with `finetune submit --again RUN`. If it happens again, lower "
        "per_device_train_batch_size or max_input_length, or choose another training.instance_type.",
        "PyTorch's watchdog of ProcessGroupNCCL",
    ),
    Cause(
        Code.TRAINING_INSTANCE_FAULT,
        _words(
            r"\bNCCL (error|failure)",
            r"ncclSystemError",
            r"ncclInternalError",
            r"uncorrectable ECC",
            r"CUDA error: (unspecified launch failure|an illegal instruction|device.side assert)",
            r"CUDA driver (version|initialization)",
            r"hardware failure",
            r"Xid\b",
        ),
        "The instance, its GPU driver or its network failed.",
        "Upload again: the job gets another instance. If it fails again, choose another training.instance_type.",
        "errors of NVIDIA and NCCL; 'hardware failure' is from SageMaker's guide on cluster repairs",
    ),
    Cause(
        Code.TRAINING_AWS_FAULT,
        _words(r"^InternalServerError", r"We encountered an internal error", r"Internal(Server)?Error: "),
        "SageMaker had an internal error.",
        "Start the run again with `finetune submit --again RUN`. If it fails again, contact AWS support with the job's "
        "ARN.",
        "SageMaker's error; that it has no other meaning is assumed",
    ),
)
"""In the order in which they are tried, specific causes first. `outcomes` recognises missing capacity, the time limit
and a stopped job by the job's status.
"""


COLUMNS = frozenset({"dialog", "role", "content", "text", "prompt", "completion"})
"""The keys of rows that JumpStart's script reads, besides the columns of a template."""


def explain(job_name: str, reason: str, log: Sequence[str], columns: Collection[str] = frozenset()) -> TrainingFailed:
    """The failure, with its cause if it is known. `log`: the last lines of the job's log, the latest at the end;
    `columns`: those that the template names.
    """
    raw = reason or "SageMaker gave no reason"
    # SageMaker's reason first, then the log from its end: the last lines are closest to the failure.
    for texts in ([reason], [*reversed(log)]):
        for cause, text in product(CAUSES, texts):
            if _matches(cause, text, COLUMNS | {*columns}):
                seen = "" if text in reason else f" The log says: {text.strip()}"
                return TrainingFailed(
                    cause.code, f"The training job {job_name} failed. {cause.meaning} {raw}{seen}", cause.fix, log=log
                )
    return TrainingFailed(
        Code.TRAINING_FAILED,
        f"The training job {job_name} failed: {raw}",
        "Read the job's log (linked in status.json): the reason usually names the line of the training script.",
        log=log,
    )


def _matches(cause: Cause, text: str, columns: Collection[str]) -> bool:
    """A KeyError has this cause only if its key can be a column: script and libraries have keys of their own."""
    found = cause.words.search(text)
    return found is not None and (found.groupdict().get("column") or next(iter(columns))) in columns
