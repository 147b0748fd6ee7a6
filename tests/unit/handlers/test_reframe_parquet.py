"""ReframeParquet: Parquet files as JSON Lines, and what they hold in the plan."""

import io
import json

import pyarrow
import pyarrow.parquet

from finetuning.handlers import reframe_parquet
from finetuning.operations.dataset_files import reframed_key
from finetuning.operations.run import Run
from tests.builders.aws import FakeAws
from tests.builders.datasets import any_chat_rows, as_lines
from tests.builders.handlers import invoke
from tests.builders.memory import DATA_KEY, PREFIX, MemoryStore, any_run_of
from tests.builders.runs import RUN_ID


def any_parquet() -> bytes:
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(any_chat_rows(5)), table)
    return table.getvalue()


def head(cloud: FakeAws, body: bytes) -> None:
    cloud["s3"].answers["head_object"] = {"ETag": '"e"', "ContentLength": len(body)}


def test_the_rows_are_written_and_their_shape_is_kept_in_the_plan(cloud: FakeAws, memory: MemoryStore) -> None:
    body = any_parquet()
    run = any_run_of(memory, body)
    cloud.files[DATA_KEY] = body
    head(cloud, body)
    result = invoke(reframe_parquet, run_id=RUN_ID)
    assert result["message"].startswith("5 rows of Parquet")
    rows = (memory.read(run.layout.root + reframed_key(0)) or b"").splitlines()
    assert [json.loads(row) for row in rows] == any_chat_rows(5)
    (file,) = Run(RUN_ID, store=memory, prefix=PREFIX).plan.data_files
    assert file.detection is not None
    assert file.is_parquet
    assert set(file.detection.columns) == {"messages"}


def test_a_file_that_is_no_parquet_is_left_as_it_is(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run_of(memory, as_lines(any_chat_rows(5)))
    before = run.plan
    assert invoke(reframe_parquet, run_id=RUN_ID)["message"].startswith("0 rows of Parquet")
    assert Run(RUN_ID, store=memory, prefix=PREFIX).plan == before
    assert not cloud["s3"].calls
