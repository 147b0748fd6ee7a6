"""Why a training job failed and what to do: known causes, matched with SageMaker's reason and the job's log.

SageMaker's `FailureReason` is often only "AlgorithmError: ExecuteUserScriptError"; the script's error is in its log.
The `source` of a cause names where its words come from; "assumed" means that no JumpStart job has shown them yet.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
        Code.TRAINING_COLUMN_MISSING,
        _words(
            r"KeyError: ['\"]", r"column .{0,80}(does not exist|not (found|in the dataset))", r"does not fit the row"
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
"""In the order in which they are tried. `outcomes` recognises missing capacity, the time limit and a stopped job by the
job's status.
"""


def explain(job_name: str, reason: str, log: Sequence[str]) -> TrainingFailed:
    """The failure, with its cause if it is known. `log`: the last lines of the job's log, the latest at the end."""
    raw = reason or "SageMaker gave no reason"
    for text in _where_to_look(reason, log):
        for cause in CAUSES:
            if cause.words.search(text):
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


def _where_to_look(reason: str, log: Sequence[str]) -> Iterator[str]:
    """SageMaker's reason first, then the log from its end: the last lines are closest to the failure."""
    yield reason
    yield from reversed(log)
