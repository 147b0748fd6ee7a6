"""PrepareShard: the rows of one shard, read in the version that was planned."""

from finetuning.handlers import plan_shards, prepare_shard
from tests.builders.aws import FakeAws
from tests.builders.datasets import any_chat_rows, as_lines
from tests.builders.handlers import invoke
from tests.builders.memory import DATA_KEY, MemoryStore, any_run_of
from tests.builders.runs import RUN_ID


def prepared(cloud: FakeAws, memory: MemoryStore, body: bytes) -> dict[str, bytes]:
    """What the shards' step writes for a file of one shard."""
    run = any_run_of(memory, body)
    cloud.files[DATA_KEY] = body
    (shard,) = invoke(plan_shards, run_id=RUN_ID)["shards"]
    before = set(memory.objects)
    assert invoke(prepare_shard, run_id=RUN_ID, shard=shard) == {}
    return {key.removeprefix(run.layout.shards): memory.objects[key] for key in set(memory.objects) - before}


def rows_in(written: dict[str, bytes]) -> int:
    return sum(line.startswith(b'{"dialog"') for body in written.values() for line in body.splitlines())


def test_the_rows_of_the_shard_are_converted_and_written_to_the_runs_folder(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    written = prepared(cloud, memory, as_lines(any_chat_rows(40)))
    assert rows_in(written) == 40


def test_bad_rows_do_not_fail_the_step(cloud: FakeAws, memory: MemoryStore) -> None:
    written = prepared(cloud, memory, as_lines([*any_chat_rows(40), b'{"messages": [']))
    assert rows_in(written) == 40


def test_the_file_is_read_in_the_version_and_content_that_were_planned(cloud: FakeAws, memory: MemoryStore) -> None:
    prepared(cloud, memory, as_lines(any_chat_rows(40)))
    reads = [request for request in cloud["s3"].requests("get_object") if request["Key"] == DATA_KEY]
    assert [(request["VersionId"], request["IfMatch"]) for request in reads] == [("1", '"e"')]
