"""A run over documents in memory."""

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.target import Target
from finetuning.operations.run import Run, target
from finetuning.operations.run_end import ended, has_ended
from finetuning.runs.status import Rung, RunState
from finetuning.settings import settings
from tests.builders.aws import FakeAws
from tests.builders.interleaving import Interleaving, PausingStore
from tests.builders.memory import PREFIX, MemoryStore, any_environment, any_run
from tests.builders.runs import RUN_ID, START, any_plan

FIRST, SECOND = "arn:first", "arn:second"


def test_the_status_grows_by_each_event_and_does_not_repeat_one() -> None:
    run = any_run(step="DescribeTraining")
    run.record("Planned", step="PlanRun")
    run.record("Training: epoch 1")
    run.record("Training: epoch 1")
    run.record("", step="ReportSuccess", state=RunState.SUCCEEDED)
    status = run.status
    assert [(event.step, event.message) for event in status.events] == [
        ("PlanRun", "Planned"),
        ("DescribeTraining", "Training: epoch 1"),
    ]
    assert (status.state, status.step) == (RunState.SUCCEEDED, "ReportSuccess")


def test_another_run_is_of_the_same_stage_and_step() -> None:
    run = any_run(step="SweepRuns")
    any_run(run.store, "other-0a1b2c3d")
    other = run.other("other-0a1b2c3d")
    other.record("Swept")
    assert other.names.prefix == PREFIX
    assert other.status.events[-1].step == "SweepRuns"


def test_steps_that_record_at_the_same_time_lose_nothing_of_each_other() -> None:
    store = PausingStore()
    order = Interleaving(seed=1, between=lambda: None)
    steps = [f"Step{number}" for number in range(4)]
    store.pause = order.pause
    for step in steps:
        run = any_run(store, step=step)
        order.add(step, partial(run.record, "done", links={step: f"https://{step}"}))
    order.run()
    status = Run(RUN_ID, store=store, prefix=PREFIX).status
    assert sorted(event.step for event in status.events) == steps
    assert sorted(status.links) == steps
    assert max(Counter(order.trace).values()) > 1  # somebody had to try again


def test_a_run_without_a_plan_has_the_names_that_need_none_and_says_that_the_plan_is_missing() -> None:
    run = Run(RUN_ID, store=MemoryStore(), prefix=PREFIX)
    assert run.find_plan() is None
    assert run.names.endpoint == f"{PREFIX}-{RUN_ID}"
    with pytest.raises(FineTuningError, match=r"plan\.json is missing") as missing:
        _ = run.plan
    assert missing.value.code == Code.INTERNAL_ERROR


def test_a_planned_run_has_the_endpoint_name_of_its_plan() -> None:
    endpoint = any_plan().endpoint.model_dump() | {"name": "faq"}
    assert any_run(endpoint=endpoint).names.endpoint == f"{PREFIX}-faq"


def test_a_saved_plan_replaces_the_one_that_was_read() -> None:
    run = any_run()
    assert run.plan.approval is False
    run.save_plan(any_plan(approval=True))
    assert run.plan.approval is True
    assert Run(RUN_ID, store=run.store, prefix=PREFIX).plan.approval is True


def test_a_run_belongs_to_the_execution_that_claims_it_first_until_another_takes_it_over() -> None:
    run = any_run()
    assert not run.is_claimed()
    assert run.is_owned_by(FIRST)
    assert run.is_claimed()
    assert (run.is_owned_by(FIRST), run.is_owned_by(SECOND)) == (True, False)
    run.record("", state=RunState.FAILED, execution_arn=FIRST)
    assert run.take_over(SECOND)
    assert (run.is_owned_by(FIRST), run.is_owned_by(SECOND)) == (False, True)
    assert (run.status.state, run.status.execution_arn) == (RunState.RUNNING, SECOND)


def test_a_run_that_has_not_ended_is_not_taken_over() -> None:
    run = any_run()
    assert run.is_owned_by(FIRST)
    assert not run.take_over(SECOND)
    run.record("", execution_arn=FIRST)
    assert not run.take_over(SECOND)
    assert (run.is_owned_by(FIRST), run.status.execution_arn) == (True, FIRST)


def test_a_run_without_a_status_has_not_ended() -> None:
    run = Run(RUN_ID, store=MemoryStore(), prefix=PREFIX)
    assert run.is_owned_by(FIRST)
    assert not run.take_over(SECOND)
    status = run.status
    assert (status.run_id, status.state) == (RUN_ID, RunState.RUNNING)
    assert status.started_at.utcoffset() == timedelta(0)


def test_an_execution_that_was_interrupted_while_it_took_a_run_over_goes_on() -> None:
    run = any_run()
    run.is_owned_by(FIRST)
    run.record("", state=RunState.RUNNING, execution_arn=SECOND)
    assert run.take_over(SECOND)
    assert run.is_owned_by(SECOND)


def test_the_files_of_a_run_are_below_its_folder() -> None:
    run = any_run()
    with run.files.create("shards/0") as into:
        into.write(b"row")
    assert run.store.read(f"runs/{RUN_ID}/shards/0") == b"row"


def test_an_event_is_the_runs_own_steps_in_utc_with_its_attempt() -> None:
    run = any_run(step="StartTraining")
    rung = Rung(attempt=0, instance_type="ml.g5.48xlarge", job_name="job", time=START)
    status = run.record("Started", rung=rung)
    assert status.updated_at.utcoffset() == timedelta(0)
    assert status.events[-1].step == "StartTraining"
    assert status.ladder == [rung]
    assert Run(RUN_ID, store=run.store, prefix=PREFIX).record("Read").step == ""


def test_a_plan_is_read_once_and_a_saved_one_not_again() -> None:
    run = any_run()
    run.store.objects.clear()  # type: ignore[attr-defined]  # a MemoryStore
    assert run.find_plan() == any_plan(run_id=RUN_ID)
    again = any_run()
    fresh = Run(RUN_ID, store=again.store, prefix=PREFIX)
    assert fresh.find_plan() == any_plan(run_id=RUN_ID)
    again.store.objects.clear()  # type: ignore[attr-defined]
    assert fresh.find_plan() == any_plan(run_id=RUN_ID)


def test_the_claim_of_a_run_names_its_execution() -> None:
    run = any_run()
    run.is_owned_by(FIRST)
    assert run.store.read(run.layout.claim) == b'{"execution_arn":"arn:first"}'


def test_jobs_run_where_the_stage_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in any_environment(GATED_WEIGHTS="channel").items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    found = target()
    settings.cache_clear()
    assert found == Target(
        prefix=PREFIX,
        stage="dev",
        region="us-east-1",
        bucket="artifacts",
        role_arn="arn:aws:iam::123456789012:role/jobs",
        subnets=("subnet-1", "subnet-2"),
        security_groups=("sg-1",),
        kms_key_arn="arn:aws:kms:us-east-1:123456789012:key/k",
        gated_weights="channel",
        import_role_arn="arn:aws:iam::123456789012:role/imports",
    )


@pytest.mark.parametrize(
    ("status", "file", "exists"),
    [
        ({"model_artifact": "s3://artifacts/elsewhere/model/"}, "elsewhere/model/weights", True),
        ({"model_artifact": "s3://artifacts/elsewhere/model/"}, "other/model/weights", False),
        ({"training_job": "job"}, f"runs/{RUN_ID}/training/job/output/model/weights", True),
        ({"training_job": "job"}, f"runs/{RUN_ID}/training/job/output/output.tar.gz", False),
        ({}, f"runs/{RUN_ID}/training/job/output/model/weights", False),
    ],
)
def test_a_run_has_a_tuned_model_while_its_files_exist(status: dict[str, str], file: str, exists: bool) -> None:
    run = any_run()
    run.record("", **status)  # type: ignore[arg-type]  # fields of the status
    run.store.write(file, b"weights")
    assert run.has_tuned_model() is exists


@pytest.mark.parametrize(("status", "over"), [("RUNNING", False), ("ABORTED", True)])
def test_whether_a_run_has_ended_is_asked_of_its_own_execution(cloud: FakeAws, status: str, over: bool) -> None:
    cloud["stepfunctions"].answers["describe_execution"] = {"status": status}
    run = any_run()
    run.record("", execution_arn=FIRST)
    assert has_ended(run) is over
    assert cloud["stepfunctions"].requests("describe_execution") == [{"executionArn": FIRST}]


def test_a_step_whose_run_has_ended_says_what_it_took_back() -> None:
    error = ended(any_run(), "Stopped the job", "Deleted the endpoint faq")
    assert error.code == Code.RUN_ABORTED
    assert error.message == (
        f"The run {RUN_ID} ended while this step was working. Stopped the job. Deleted the endpoint faq."
    )
