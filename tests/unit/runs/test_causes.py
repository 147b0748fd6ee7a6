"""A failed job, explained from SageMaker's reason and the end of its log."""

import pytest

from finetuning.errors import Code
from finetuning.runs.causes import CAUSES, explain

SCRIPT_FAILED = "AlgorithmError: ExecuteUserScriptError: ExitCode 1 ErrorMessage , exit code: 1"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", Code.TRAINING_OUT_OF_MEMORY),
        ("subprocess died with exit code 137", Code.TRAINING_OUT_OF_MEMORY),
        ("OSError: [Errno 28] No space left on device", Code.TRAINING_DISK_FULL),
        ("Exception: You must accept the EULA of the model", Code.TRAINING_LICENCE_REFUSED),
        ("KeyError: 'context'", Code.TRAINING_COLUMN_MISSING),
        ("KeyError: 'dialog'", Code.TRAINING_COLUMN_MISSING),
        ("KeyError: 'SageMakerGatedModelS3Uri'", Code.TRAINING_ARTEFACT_MISSING),
        (
            "An error occurred (AccessDenied) when calling the GetObject operation: Access Denied",
            Code.TRAINING_ACCESS_DENIED,
        ),
        ("botocore.errorfactory.KMSInvalidStateException: pending deletion", Code.TRAINING_ACCESS_DENIED),
        ("AccessDenied: s3://jumpstart-private-cache-prod-us-east-1/w", Code.TRAINING_LICENCE_REFUSED),
        ('Connect timeout on endpoint URL: "https://sts.amazonaws.com/"', Code.TRAINING_NETWORK_BLOCKED),
        ("[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)", Code.TRAINING_NCCL_TIMEOUT),
        ("json.decoder.JSONDecodeError: Expecting value: line 1 column 1", Code.TRAINING_DATA_UNREADABLE),
        ("An error occurred (NoSuchKey) when calling the GetObject operation", Code.TRAINING_ARTEFACT_MISSING),
        ("train.py: error: unrecognized arguments: --lora_q 8", Code.TRAINING_HYPERPARAMETER_REFUSED),
        ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp", Code.TRAINING_INSTANCE_FAULT),
    ],
)
def test_the_log_shows_a_cause_that_sagemakers_reason_does_not(line: str, code: Code) -> None:
    failure = explain("job", SCRIPT_FAILED, ["epoch 1 of 5", line, "  warnings.warn("], {"context"})
    assert failure.code == code
    assert line in failure.message
    assert failure.fix


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (
            'ClientError: Data download failed:No S3 objects found under S3 URL "s3://b/p/"',
            Code.TRAINING_DATA_UNREADABLE,
        ),
        (
            "InternalServerError: We encountered an internal error. Please try again.",
            Code.TRAINING_AWS_FAULT,
        ),
    ],
)
def test_sagemakers_reason_has_priority_over_the_log(reason: str, code: Code) -> None:
    failure = explain("job", reason, ["KeyError: 'context'"])
    assert failure.code == code
    assert reason in failure.message
    assert "The log says" not in failure.message


def test_an_unknown_cause_keeps_its_text_and_the_end_of_the_log() -> None:
    log = [f"line {number}" for number in range(50)]
    failure = explain("job", SCRIPT_FAILED, log)
    assert failure.code == Code.TRAINING_FAILED
    assert SCRIPT_FAILED in failure.message
    assert failure.as_dict()["log"] == log[-12:]
    assert "log" not in explain("job", "", []).as_dict()


@pytest.mark.parametrize("key", ["model.layers.0.self_attn.q_proj.weight", "llama", "context"])
def test_a_key_that_is_no_column_of_the_run_is_not_blamed_on_the_data(key: str) -> None:
    assert explain("job", SCRIPT_FAILED, [f"KeyError: '{key}'"]).code == Code.TRAINING_FAILED


def test_a_specific_cause_wins_over_a_general_one_that_came_later() -> None:
    log = ["CUDA out of memory", "NCCL error", "Watchdog caught collective operation timeout"]
    assert explain("job", SCRIPT_FAILED, log).code == Code.TRAINING_OUT_OF_MEMORY
    reason = "ClientError: Data download failed: AccessDenied when calling GetObject"
    assert explain("job", reason, []).code == Code.TRAINING_ACCESS_DENIED


def test_the_last_matching_line_of_the_log_is_used() -> None:
    log = ["KeyError: 'x'", "retrying", "CUDA out of memory"]
    assert explain("job", SCRIPT_FAILED, log).code == Code.TRAINING_OUT_OF_MEMORY


def test_the_numbers_of_an_epoch_are_not_a_cause() -> None:
    log = ["train_epoch_loss=1.373 eval_ppl=tensor(137.)", "step 404 of 500", "Xidian university", "the signal is good"]
    assert explain("job", SCRIPT_FAILED, log).code == Code.TRAINING_FAILED


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: f"{cause.code}-{cause.source[:12]}")
def test_every_cause_says_what_it_means_what_to_do_and_where_it_was_seen(cause: object) -> None:
    assert all(getattr(cause, name) for name in ("meaning", "fix", "source"))


def test_a_cause_in_sagemakers_own_reason_is_not_repeated_from_the_log() -> None:
    failure = explain("job", "CUDA out of memory", [])
    assert failure.message.endswith("CUDA out of memory")


def test_an_unknown_failure_leads_to_the_log() -> None:
    assert "log" in explain("job", "AlgorithmError", []).fix
