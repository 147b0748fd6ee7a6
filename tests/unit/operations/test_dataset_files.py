"""Which objects a run's data is read from."""

from typing import Any

import pytest

from finetuning.datasets.data_errors import ErrorCode
from finetuning.datasets.formats import Detection, Format
from finetuning.datasets.options import DataOptions
from finetuning.datasets.preparation import Preparation, Shard, SourceFile
from finetuning.datasets.resolution import Resolution
from finetuning.errors import Code, DatasetRefused
from finetuning.operations import dataset_files
from finetuning.operations.dataset_files import open_data_file, open_shard, reframed_key, source_files
from finetuning.runs.plan import DataFile
from tests.builders.aws import FakeAws
from tests.builders.memory import any_run
from tests.builders.runs import RUN_ID, any_plan

CSV, PARQUET = Detection(format=Format.CSV), Detection(format=Format.PARQUET)


def any_file(name: str, detection: Detection | None) -> DataFile:
    return DataFile(key=f"runs/pirate/{name}", version_id="v1", size=900, etag="e1", detection=detection)


def sources(*files: DataFile, **reframed: bytes) -> list[SourceFile]:
    """The sources of a run with these data files. `reframed`: what ReframeParquet wrote, by a key's last part."""
    run = any_run(data_files=[file.model_dump() for file in files])
    for number, body in reframed.items():
        with run.files.create(reframed_key(int(number.removeprefix("n")))) as into:
            into.write(body)
    return source_files(run)


def test_a_file_is_read_from_the_upload_in_the_version_that_was_planned() -> None:
    (found,) = sources(any_file("a.csv", CSV))
    assert found == SourceFile(
        name="a.csv",
        bucket="upload",
        key="runs/pirate/a.csv",
        size=900,
        version_id="v1",
        etag="e1",
        detection=CSV,
    )


def test_a_parquet_file_is_read_as_the_lines_that_were_written_of_it() -> None:
    _, found = sources(any_file("a.csv", CSV), any_file("b.json", PARQUET), n1=b"{}\n{}\n")
    assert found == SourceFile(
        name="b.json",
        bucket="artifacts",
        key=f"runs/{RUN_ID}/shards/reframed/00001.jsonl",
        size=6,
        detection=PARQUET,
    )


def test_a_parquet_file_that_was_refused_is_read_from_the_upload() -> None:
    (found,) = sources(any_file("b.parquet", PARQUET.model_copy(update={"refusal": ErrorCode.PARQUET_DAMAGED})))
    assert (found.bucket, found.key) == ("upload", "runs/pirate/b.parquet")


def test_a_plan_that_does_not_know_its_files_is_refused_with_the_files_name() -> None:
    with pytest.raises(DatasetRefused, match=r"a\.csv") as refused:
        sources(any_file("a.csv", None))
    assert refused.value.code == Code.DATASET_REFUSED
    assert "Upload" in refused.value.fix


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked of the reader of S3: its arguments."""
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(dataset_files, "s3_reader", lambda *given, **version: asked.append((*given, version)))
    return asked


def test_a_data_file_is_opened_in_the_version_that_was_planned(cloud: FakeAws, opened: list[tuple[Any, ...]]) -> None:
    open_data_file(any_plan(), any_file("a.csv", CSV))
    assert opened == [(cloud["s3"], "upload", "runs/pirate/a.csv", {"version_id": "v1", "etag": "e1"})]


@pytest.mark.parametrize(("start", "begin"), [(0, 0), (1, 0), (1000, 999)])
def test_a_shard_is_opened_one_byte_before_it(
    cloud: FakeAws, opened: list[tuple[Any, ...]], start: int, begin: int
) -> None:
    """The byte tells whether the shard begins with a line or inside one."""
    files = sources(any_file("a.csv", CSV), any_file("b.csv", CSV))
    preparation = Preparation(
        files=tuple(files), shards=(), resolution=Resolution(), options=DataOptions(), max_input_length=None
    )
    open_shard(preparation, Shard(number=3, file=1, start=start))
    assert opened == [(cloud["s3"], "upload", "runs/pirate/b.csv", begin, {"version_id": "v1", "etag": "e1"})]
