"""ApproveDeployment: the question to the team, and the token that its answer needs."""

from finetuning.handlers import approve_deployment
from finetuning.runs.status import Approval
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.memory import MemoryStore, any_run
from tests.builders.runs import RUN_ID

COMMAND = f"finetune approve {RUN_ID}"


def test_the_token_is_kept_for_the_answer(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    assert invoke(approve_deployment, run_id=RUN_ID, task_token="token") == {}
    assert memory.load(run.layout.approval, Approval).task_token == "token"  # pragma: allowlist secret


def test_the_status_and_the_message_name_the_command_that_approves(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    invoke(approve_deployment, run_id=RUN_ID, task_token="token")
    assert run.status.step == "ApproveDeployment"
    assert COMMAND in run.status.progress
    (message,) = cloud.messages()
    assert COMMAND in message


def test_the_token_is_kept_before_anyone_is_asked(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    seen: list[bool] = []
    cloud["sns"].answers["publish"] = lambda **_: seen.append(memory.read(run.layout.approval) is not None)
    invoke(approve_deployment, run_id=RUN_ID, task_token="token")
    assert seen == [True]


def test_the_report_page_is_there_for_whoever_decides(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    invoke(approve_deployment, run_id=RUN_ID, task_token="token")
    assert memory.read(run.layout.report_page)
