"""SwitchAlias: which model a name stands for, and what is kept of those before."""

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.handlers import switch_alias
from finetuning.operations.imports import find_alias
from finetuning.runs.aliases import Alias, ImportedModel
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import RunStatus
from finetuning.settings import settings
from tests.builders.aws import FakeAws, ends
from tests.builders.handlers import invoke
from tests.builders.imports import imported_run, serve
from tests.builders.memory import PREFIX, MemoryStore
from tests.builders.runs import RUN_ID, START

FAQ = f"{PREFIX}-faq"


def switched(memory: MemoryStore) -> Alias:
    invoke(switch_alias, run_id=RUN_ID)
    alias = find_alias(memory, FAQ)
    assert alias
    return alias


def status_in(memory: MemoryStore) -> RunStatus:
    return memory.load(RunLayout(RUN_ID).status, RunStatus)


def ready(cloud: FakeAws, memory: MemoryStore) -> str:
    """The ARN of the imported model of a run that is to serve under the name faq."""
    arn = cloud.bedrock.add_model()
    imported_run(memory, name="faq").record("", imported_model=arn)
    return arn


def test_the_name_stands_for_the_new_model_and_the_run_says_so(cloud: FakeAws, memory: MemoryStore) -> None:
    arn = ready(cloud, memory)
    alias = switched(memory)
    assert alias.serving
    assert (alias.serving.arn, alias.serving.run_id, alias.earlier) == (arn, RUN_ID, [])
    assert alias.owners == ["pirate"]
    status = status_in(memory)
    assert status.endpoint == FAQ
    assert status.events[-1].message == f"{FAQ} answers with the imported model {PREFIX}-{RUN_ID}"


def test_the_model_before_is_kept_for_a_rollback_and_older_ones_are_deleted(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    old, older = (cloud.bedrock.add_model(f"{PREFIX}-{run}", run) for run in ("old-00000000", "older-00000000"))
    before = ImportedModel(arn=older, name=f"{PREFIX}-older-00000000", run_id="older-00000000", since=START)
    serve(memory, FAQ, old, "old-00000000", earlier=(before,))
    new = ready(cloud, memory)
    alias = switched(memory)
    assert [model.arn for model in alias.models] == [new, old]
    assert set(cloud.bedrock.models) == {new, old}
    said = [event.message for event in status_in(memory).events]
    assert f"Deleted the imported model {PREFIX}-older-00000000, which {FAQ} kept for a rollback" in said


def test_a_repeated_switch_changes_nothing(cloud: FakeAws, memory: MemoryStore) -> None:
    ready(cloud, memory)
    assert switched(memory) == switched(memory)


def test_the_name_of_another_owner_is_not_taken(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDPOINT_REPLACEMENT", "owner")
    settings.cache_clear()
    old = cloud.bedrock.add_model(f"{PREFIX}-old-00000000", "old-00000000")
    alias = serve(memory, FAQ, old, "old-00000000")
    memory.save(f"aliases/{FAQ}/alias.json", alias.model_copy(update={"owners": ["crew"]}))
    ready(cloud, memory)
    with pytest.raises(FineTuningError, match="belongs to crew") as refused:
        switched(memory)
    assert refused.value.code == Code.ENDPOINT_NOT_OWNED
    found = find_alias(memory, FAQ)
    assert found
    assert found.serving == alias.serving


def test_a_run_that_ends_meanwhile_leaves_no_model_that_nobody_approved(cloud: FakeAws, memory: MemoryStore) -> None:
    ready(cloud, memory)
    imported = imported_run(memory, name="faq")
    imported.record("", imported_model=next(iter(cloud.bedrock.models)), execution_arn="arn:first")
    cloud["stepfunctions"].answers["describe_execution"] = ends(1)
    with pytest.raises(FineTuningError, match="Deleted the imported model") as refused:
        invoke(switch_alias, run_id=RUN_ID)
    assert refused.value.code == Code.RUN_ABORTED
    assert cloud.bedrock.models == {}
    found = find_alias(memory, FAQ)
    assert found
    assert found.serving is None
