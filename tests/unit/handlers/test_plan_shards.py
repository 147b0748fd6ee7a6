"""PlanShards: what the data is trained for, and its shards."""

import pytest

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.preparation import Preparation
from finetuning.errors import DatasetRefused
from finetuning.handlers import plan_shards
from finetuning.settings import settings
from tests.builders.aws import FakeAws
from tests.builders.datasets import any_chat_rows, as_lines
from tests.builders.handlers import invoke
from tests.builders.memory import MemoryStore, any_run_of
from tests.builders.runs import RUN_ID

CHAT = as_lines(any_chat_rows(40))


@pytest.mark.parametrize(("megabytes", "shards"), [(1, [0]), (3, [0, 1, 2])])
def test_a_file_is_cut_into_shards_of_the_stages_size(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch, megabytes: int, shards: list[int]
) -> None:
    monkeypatch.setenv("SHARD_BYTES", str(1 << 20))
    settings.cache_clear()
    run = any_run_of(memory, CHAT, size=megabytes << 20)
    result = invoke(plan_shards, run_id=RUN_ID)
    assert result["shards"] == shards
    preparation = memory.load(run.layout.preparation, Preparation)
    assert [shard.number for shard in preparation.shards] == shards
    assert "chat" in result["message"]


def test_data_that_cannot_be_trained_on_is_refused_with_a_report_and_no_shards(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = any_run_of(memory, b"version https://git-lfs.github.com/spec/v1\noid sha256:2d\nsize 3\n")
    with pytest.raises(DatasetRefused, match="Git LFS"):
        invoke(plan_shards, run_id=RUN_ID)
    assert memory.load(run.layout.dataset_report, DatasetReport).error_counts == {"GIT_LFS_POINTER": 1}
    assert memory.read(run.layout.preparation) is None
