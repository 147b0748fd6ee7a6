"""ReframeParquet: writes Parquet files out as JSON Lines. The one function with pyarrow."""

from finetuning.aws.clients import client
from finetuning.aws.s3_streams import s3_reader
from finetuning.datasets.data_errors import FIXES, ErrorCode
from finetuning.datasets.parquet import ParquetDamaged, reframe
from finetuning.errors import DatasetRefused
from finetuning.handlers.step import Payload, step
from finetuning.operations.dataset_files import is_parquet, reframed
from finetuning.operations.run import Run


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. Raises `DatasetRefused` for a file pyarrow cannot read."""
    plan, rows = run.plan, 0
    for number, file in enumerate(plan.data_files):
        if not is_parquet(file.key):
            continue
        source = s3_reader(client("s3"), plan.upload.bucket, file.key, version_id=file.version_id, etag=file.etag)
        try:
            with source, run.files.create(reframed(number)) as into:
                rows += reframe(source, into)
        except ParquetDamaged as error:
            raise DatasetRefused(
                f"{file.key}: the Parquet file cannot be read: {error}", FIXES[ErrorCode.PARQUET_DAMAGED]
            ) from error
    status = run.record(f"{rows:,} rows of Parquet written out as JSON Lines")
    return status.shown
