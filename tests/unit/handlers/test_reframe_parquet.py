"""ReframeParquet: Parquet files as JSON Lines, and what they hold in the plan."""

import io
import json
from typing import Any

import pyarrow
import pytest

from finetuning.datasets import row_groups
from finetuning.handlers import reframe_parquet
from finetuning.operations.dataset_files import reframed_key
from finetuning.operations.run import Run
from tests.builders.aws import FakeAws
from tests.builders.datasets import any_chat_rows, as_lines, as_parquet, parquet_of
from tests.builders.handlers import invoke
from tests.builders.memory import DATA_KEY, PREFIX, MemoryStore, any_run_of
from tests.builders.runs import RUN_ID


def head(cloud: FakeAws, body: bytes) -> None:
    cloud["s3"].answers["head_object"] = {"ETag": '"e"', "ContentLength": len(body)}


def test_the_rows_are_written_and_their_shape_is_kept_in_the_plan(cloud: FakeAws, memory: MemoryStore) -> None:
    body = as_parquet(any_chat_rows(5))
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


class CountedBody(io.BytesIO):
    """A download, of which `counted` has the bytes that were read."""

    def __init__(self, body: io.BytesIO, counted: list[int]) -> None:
        super().__init__(body.getvalue())
        self._counted = counted

    def readinto(self, into: Any, /) -> int:
        read = super().readinto(into)
        self._counted.append(read)
        return read


def test_each_byte_is_downloaded_once(cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are read by turns, each from its own place in the file."""
    monkeypatch.setattr(row_groups, "COLUMN_BUFFER", 1 << 20)
    texts = [f"{number:08d}" * 64 for number in range(8 << 10)]
    table = pyarrow.table({"question": texts, "answer": texts[::-1], "context": texts})
    body = parquet_of(table, compression="none").getvalue()
    any_run_of(memory, body)
    cloud.files[DATA_KEY] = body
    head(cloud, body)
    counted: list[int] = []
    get = cloud["s3"].answers["get_object"]
    cloud["s3"].answers["get_object"] = lambda **request: (
        (answer := get(**request)) | {"Body": CountedBody(answer["Body"], counted)}
    )
    assert invoke(reframe_parquet, run_id=RUN_ID)["message"].startswith("8,192 rows of Parquet")
    assert len(body) > 12 << 20
    assert len(body) <= sum(counted) < 1.15 * len(body)
    assert len(cloud["s3"].requests("get_object")) < 25


def test_a_file_that_is_no_parquet_is_left_as_it_is(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run_of(memory, as_lines(any_chat_rows(5)))
    before = run.plan
    assert invoke(reframe_parquet, run_id=RUN_ID)["message"].startswith("0 rows of Parquet")
    assert Run(RUN_ID, store=memory, prefix=PREFIX).plan == before
    assert not cloud["s3"].calls
