"""Why a training job failed, in words a user can act on: SageMaker's reason and the end of the log, read together.

SageMaker's `FailureReason` often says no more than "AlgorithmError: ExecuteUserScriptError"; the script's own words
are in its log. What each cause looks like was seen where its `source` says; "assumed": no JumpStart job has shown it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finetuning.errors import Code, TrainingFailed


@dataclass(frozen=True)
class Cause:
    """One known cause. `words` tell it; `meaning` and `fix` are for the user."""

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
        "The GPUs had too little memory for a batch of this length.",
        "Lower per_device_train_batch_size or max_input_length, or set int8_quantization; else use a larger "
        "training.instance_type.",
        "PyTorch's frequently asked questions: its allocator raises this",
    ),
    Cause(
        Code.TRAINING_OUT_OF_MEMORY,
        _words(r"instance type with more memory", r"exit code:? (137|-9)\b", r"signal (9|SIGKILL)", r"\bMemoryError\b"),
        "The instance's main memory was used up, and the system ended the script.",
        "Use a training.instance_type with more memory, or set max_train_samples.",
        "the kernel's SIGKILL is exit code 137; SageMaker's sentence is assumed",
    ),
    Cause(
        Code.TRAINING_DISK_FULL,
        _words(r"No space left on device", r"\bENOSPC\b", r"insufficient disk space"),
        "The instance's disk was full.",
        "Use a training.instance_type with more storage, or train on less data.",
        "the operating system's own words",
    ),
    Cause(
        Code.TRAINING_LICENCE_REFUSED,
        _words(r"\bEULA\b", r"end.user licen[cs]e", r"gated (repo|model)", r"access to (the )?model .{0,80}restricted"),
        "The weights were not handed out: the job could not show that their licence is accepted.",
        'Set "accept_eula": true in run.json. If it is set, deploy the stage with -c gated_weights=channel (or env), '
        "the other way to hand the acceptance on.",
        "assumed",
    ),
    Cause(
        Code.TRAINING_COLUMN_MISSING,
        _words(
            r"KeyError: ['\"]", r"column .{0,80}(does not exist|not (found|in the dataset))", r"does not fit the row"
        ),
        "The script looked for a column that a row does not have: the template, or the task, and the data differ.",
        "Compare the columns in dataset.json with the template's {keys}; set task in run.json where it was guessed "
        "wrong.",
        "Python's KeyError; where JumpStart's script raises it is assumed",
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
        "A channel held no data, or data in a form the script does not read.",
        "Look at runs/<run-id>/dataset/ in the artifacts bucket. If nobody changed it, report this with the job's log: "
        "the preparation should not have let it pass.",
        "the first two are SageMaker's; the others those of the datasets library, assumed of JumpStart's script",
    ),
    Cause(
        Code.TRAINING_ARTEFACT_MISSING,
        _words(r"\bNoSuchKey\b", r"\(404\)", r"could not find model data", r"model artifacts? .{0,60}(not|missing)"),
        "Something of JumpStart's, its script or its weights, was not where its document says.",
        "Pin another version with model_version in run.json, or another training.instance_type.",
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
        "The training script did not take a hyperparameter.",
        "Leave the one it names out of run.json, or pin another model_version: `finetune models --json` shows its "
        "defaults.",
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
        "The instance, its driver or its network failed.",
        "Upload again: another instance is taken. If it comes back, use another training.instance_type.",
        "NVIDIA's and NCCL's words; SageMaker's 'hardware failure' from its guide on cluster repairs",
    ),
    Cause(
        Code.TRAINING_AWS_FAULT,
        _words(r"^InternalServerError", r"We encountered an internal error", r"Internal(Server)?Error: "),
        "SageMaker had an internal error.",
        "Upload again with `finetune submit --again`. If it comes back, ask AWS support, with the job's ARN.",
        "SageMaker's words for it; that nothing else is hidden behind them is assumed",
    ),
)
"""In the order in which they are looked for. Missing capacity, a time limit and a stopped job are told by the job's
status: see `outcomes`.
"""


def explain(job_name: str, reason: str, log: Sequence[str]) -> TrainingFailed:
    """The failure with its cause, where it is known. `log`: the last lines, the latest at the end."""
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
        "Read the job's log (linked in status.json); the reason usually names the line of the training script.",
        log=log,
    )


def _where_to_look(reason: str, log: Sequence[str]) -> Iterator[str]:
    """SageMaker's own word first, then the log from its end: what came last is nearest to the failure."""
    yield reason
    yield from reversed(log)
