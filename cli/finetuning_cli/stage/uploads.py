"""Uploads to a stage: data files, and the object that starts a run."""

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.aws.step_functions import executions
from finetuning.datasets.formats import is_data
from finetuning.datasets.templates import TEMPLATE_FILE
from finetuning.errors import Code, FineTuningError
from finetuning.operations.run import Run
from finetuning.runs.layout import RUN_FILE
from finetuning.runs.uploads import Upload, data_stem
from finetuning_cli.stage.deployment import Deployment

Advance = Callable[[int], None]
"""Called with the number of bytes read or sent since the last call."""


def submit_file(deployment: Deployment, path: Path, advance: Advance, name: str = "") -> Upload:
    """Uploads one data file into the inbox, which starts a run with the stage's defaults.

    `name`: the run's, the file's by default.
    """
    suffix = path.name.removeprefix(data_stem(path.name))
    return _upload(deployment, path, f"inbox/{name + suffix if name else path.name}", advance)


def submit_folder(
    deployment: Deployment, files: Mapping[str, Path], run_json: bytes, name: str, advance: Callable[[Path], Advance]
) -> Upload:
    """Uploads the files, by their paths in the upload, then run.json, whose arrival starts the run.

    Raises `FineTuningError` (UPLOAD_FOLDER_TAKEN) if the folder holds other data, which would be trained on too.
    """
    _require_no_other_data(deployment, f"runs/{name}/", files.keys())
    for within, path in files.items():
        _upload(deployment, path, f"runs/{name}/{within}", advance(path))
    key = f"runs/{name}/{RUN_FILE}"
    with translate_errors(f"upload {key}"):
        put = client("s3").put_object(
            Bucket=deployment.upload_bucket, Key=key, Body=run_json, ContentType="application/json"
        )
    return Upload(deployment.upload_bucket, key, put["VersionId"])


def resubmit(deployment: Deployment, run: Run) -> Upload:
    """Uploads the object that started a run again: a new version, which starts a new run.

    Raises `FineTuningError` (UPLOAD_NOT_FOUND) if that object is unknown or deleted.
    """
    try:
        with translate_errors(f"look up the upload of {run.run_id}"):
            upload = executions(deployment.state_machine_arn).upload(run.status.execution_arn)
            if upload is None:
                raise FineTuningError(Code.REQUEST_INVALID, "its execution was not started by an upload.", "")
            source = {"Bucket": upload.bucket, "Key": upload.key, "VersionId": upload.version_id}
            # With other metadata, because S3 refuses to copy an object onto itself unchanged.
            changed = {"MetadataDirective": "REPLACE", "Metadata": {"again": run.run_id}}
            with _version_written() as version:
                client("s3").copy(source, upload.bucket, upload.key, ExtraArgs=changed)
    except FineTuningError as error:
        if error.code != Code.REQUEST_INVALID:
            raise
        raise FineTuningError(
            Code.UPLOAD_NOT_FOUND,
            f"The upload that started {run.run_id} is not available: {error.message}",
            "Old versions are kept for 30 days, executions for 90. Submit the files again.",
        ) from error
    return Upload(upload.bucket, upload.key, version[-1])


def _require_no_other_data(deployment: Deployment, folder: str, ours: Set[str]) -> None:
    with translate_errors(f"list {folder}"):
        pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=deployment.upload_bucket, Prefix=folder)
        names = [each["Key"].removeprefix(folder) for page in pages for each in page.get("Contents", [])]
    others = [name for name in names if name not in ours and (is_data(name) or name == TEMPLATE_FILE)]
    if others:
        uri = f"s3://{deployment.upload_bucket}/{folder}"
        raise FineTuningError(
            Code.UPLOAD_FOLDER_TAKEN,
            f"{uri} already has {', '.join(others)}, which would be trained on too.",
            f"Choose another name with --name, or delete it: aws s3 rm {uri}{others[0]}",
        )


def _upload(deployment: Deployment, path: Path, key: str, advance: Advance) -> Upload:
    with translate_errors(f"upload {path}"), path.open("rb") as body, _version_written() as version:
        # upload_file would hide AWS's error in its own.
        client("s3").upload_fileobj(body, deployment.upload_bucket, key, Callback=advance)
    return Upload(deployment.upload_bucket, key, version[-1])


@contextmanager
def _version_written() -> Iterator[list[str]]:
    """Yields a list that gets the version of the object that is written. boto3's transfers do not return it, and the
    latest version may be another caller's: each starts a run of its own.
    """
    events, written = client("s3").meta.events, list[str]()

    def note(parsed: dict[str, Any], **_: Any) -> None:
        written.extend(filter(None, [parsed.get("VersionId")]))

    names = [f"after-call.s3.{operation}" for operation in ("PutObject", "CompleteMultipartUpload", "CopyObject")]
    for name in names:
        events.register(name, note)
    try:
        yield written
    finally:
        for name in names:
            events.unregister(name, note)
