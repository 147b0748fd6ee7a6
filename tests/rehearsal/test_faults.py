"""The fault matrix: whatever goes wrong, and wherever, a run ends as it should, explained, and nothing is left running.

The runs go on side by side, for each fault is meant for one of them.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import pytest

from rehearsal import running
from tests.rehearsal.support.mailbox import Mailbox
from tests.rehearsal.support.product import JUDGE, Product, any_chats, undisturbed
from tests.rehearsal.support.stacks import any_name

CHATS = b"".join(any_chats())
RUNBOOK = (running.PROJECT / "docs" / "runbook.md").read_text()
ALWAYS = 1000
SIDE_BY_SIDE = 16
IMPORTS = BoundedSemaphore(2)
"""For runs that import: an account has three imported models at most, and imports one at a time."""
ONE_TYPE = {"instance_type": "ml.g5.12xlarge", "fallback_instance_types": [], "capacity_wait_hours": 0}
TWO_TYPES = {**ONE_TYPE, "fallback_instance_types": ["ml.p3dn.24xlarge"]}
"""Of different requests, so that each has a job of its own."""
DEPLOYED = {"endpoint": {"deploy": True}, "evaluation": {"prompts": 1, "compare_with_base": False}}
COMPARED = {"endpoint": {"deploy": True}, "evaluation": {"prompts": 1, "compare_with_base": True}}
JUDGED = {"endpoint": {"deploy": True}, "evaluation": {"prompts": 1, "judge": JUDGE}}
IMPORTED = {
    "endpoint": {"deploy": True, "target": "bedrock"},
    "evaluation": {"prompts": 1, "compare_with_base": False},
}
ONCE_IT_HAPPENS = "once the fault has happened"


@dataclass(frozen=True)
class Injection:
    """A fault for one run: what goes wrong, where, how often, and after how many times that it does not."""

    fault: str
    where: str = ""
    times: int = 1
    after: int = 0
    message: str = ""


@dataclass(frozen=True)
class Case:
    """What goes wrong, and how the run and each of its training jobs then end."""

    injections: tuple[Injection, ...]
    state: str
    code: str = ""
    jobs: tuple[str, ...] = ()
    run_json: Mapping[str, Any] = field(default_factory=dict)
    stopped: str = ""
    """When somebody stops the execution: the step that status.json is at, or `ONCE_IT_HAPPENS`."""


def dies(step: str, times: int = ALWAYS) -> Injection:
    return Injection("function-dies", step, times)


def throttled(where: str, times: int) -> Injection:
    """Each of a step's seven tries makes five calls, as the SDK does by itself."""
    return Injection("throttling", where, times)


SCRIPT_FAILS, HANGS = Injection("job-fails"), Injection("job-hangs")
ENDPOINT_HANGS = Injection("endpoint-hangs", "finetune-")
IMPORT_HANGS = Injection("import-hangs", "finetune-")
FIRST_STEPS = (
    "PlanRun",
    "PlanShards",
    "PrepareShard",
    "FinishDataset",
    "TakeTurn",
    "StartTraining",
    "DescribeTraining",
)
LAST_STEPS = (
    "DeployEndpoint",
    "DescribeEndpoint",
    "AskBatch",
    "DeleteTemporaryEndpoint",
    "EvaluateAnswers",
    "RegisterModel",
    "ReportSuccess",
)
LAST_CALLS = ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "DescribeEndpoint", "DeleteEndpoint")

CASES: dict[str, Case] = {
    # Functions
    "every function dies once": Case(
        tuple(dies(step, 1) for step in (*FIRST_STEPS, *LAST_STEPS)), "succeeded", "", ("Completed",), COMPARED
    ),
    "the report of a failure dies once": Case(
        (SCRIPT_FAILS, dies("ReportFailure", 1)), "failed", "TRAINING_FAILED", ("Failed",)
    ),
    "the report of a failure always dies": Case(
        (SCRIPT_FAILS, dies("ReportFailure")), "failed", "INTERNAL_ERROR", ("Failed",)
    ),
    "PlanRun always dies": Case((dies("PlanRun"),), "failed", "STEP_CRASHED"),
    "PlanShards always dies": Case((dies("PlanShards"),), "failed", "STEP_CRASHED"),
    "PrepareShard always dies": Case((dies("PrepareShard"),), "failed", "STEP_CRASHED"),
    "FinishDataset always dies": Case((dies("FinishDataset"),), "failed", "STEP_CRASHED"),
    "TakeTurn always dies": Case((dies("TakeTurn"),), "failed", "STEP_CRASHED"),
    "StartTraining always dies": Case((dies("StartTraining"),), "failed", "STEP_CRASHED"),
    "StartTraining is always killed once its job is there": Case(
        (Injection("function-killed", "StartTraining", ALWAYS), HANGS), "failed", "STEP_OUT_OF_MEMORY", ("Stopped",)
    ),
    "PrepareShard always exceeds its memory": Case(
        (Injection("function-dies", "PrepareShard", ALWAYS, message="signal: killed"),), "failed", "STEP_OUT_OF_MEMORY"
    ),
    "DescribeTraining always dies": Case((dies("DescribeTraining"), HANGS), "failed", "STEP_CRASHED", ("Stopped",)),
    "DeployEndpoint always dies": Case((dies("DeployEndpoint"),), "failed", "STEP_CRASHED", ("Completed",), DEPLOYED),
    "the judge's function dies once": Case((dies("JudgeBatch", 1),), "succeeded", "", ("Completed",), JUDGED),
    "the judge's function always dies, and the run goes on without it": Case(
        (dies("JudgeBatch"),), "succeeded", "", ("Completed",), JUDGED
    ),
    "DescribeEndpoint always dies": Case(
        (dies("DescribeEndpoint"), ENDPOINT_HANGS), "failed", "STEP_CRASHED", ("Completed",), DEPLOYED
    ),
    "a quiet month: every function in the network is idle": Case(
        tuple(Injection("function-idle", step, 4) for step in ("PlanShards", "PrepareShard", "FinishDataset")),
        "succeeded",
        "",
        ("Completed",),
    ),
    # Throttling
    "other software uses the account's whole concurrency for a while": Case(
        (Injection("throttled-account", times=8, message="0"),), "succeeded", "", ("Completed",)
    ),
    "every call of the endpoint is throttled, too often for the SDK": Case(
        tuple(throttled(call, 6) for call in LAST_CALLS), "succeeded", "", ("Completed",), COMPARED
    ),
    "CreateTrainingJob is throttled, too often for the SDK": Case(
        (throttled("CreateTrainingJob", 6), SCRIPT_FAILS), "failed", "TRAINING_FAILED", ("Failed",)
    ),
    "CreateTrainingJob is always throttled": Case(
        (throttled("CreateTrainingJob", ALWAYS),), "failed", "AWS_UNAVAILABLE"
    ),
    "DescribeTrainingJob is throttled until the step gives up": Case(
        (throttled("DescribeTrainingJob FunctionsDescribeTraining", ALWAYS), HANGS),
        "failed",
        "AWS_UNAVAILABLE",
        ("Stopped",),
        {"training": ONE_TYPE},
    ),
    # Capacity
    "no capacity": Case(
        (Injection("capacity", times=ALWAYS),), "failed", "TRAINING_NO_CAPACITY", ("Failed",), {"training": ONE_TYPE}
    ),
    "no capacity on either type": Case(
        (Injection("capacity", times=ALWAYS),),
        "failed",
        "TRAINING_NO_CAPACITY",
        ("Failed", "Failed"),
        {"training": TWO_TYPES},
    ),
    "no capacity on the first type": Case(
        (Injection("capacity"), SCRIPT_FAILS),
        "failed",
        "TRAINING_FAILED",
        ("Failed", "Failed"),
        {"training": TWO_TYPES},
    ),
    "the job waits for instances for days": Case(
        (Injection("pending"), SCRIPT_FAILS),
        "failed",
        "TRAINING_FAILED",
        ("Stopped", "Failed"),
        {"training": TWO_TYPES},
    ),
    # Training jobs
    "the script fails": Case((SCRIPT_FAILS,), "failed", "TRAINING_FAILED", ("Failed",)),
    "somebody stops the job": Case((Injection("job-stops"),), "failed", "TRAINING_STOPPED", ("Stopped",)),
    "the job is over its time": Case((Injection("job-times-out"),), "failed", "TRAINING_OUT_OF_TIME", ("Stopped",)),
    # JumpStart's documents
    "the document says nothing of the output's compression": Case(
        (Injection("gzip-output", times=ALWAYS),), "succeeded", "", ("Completed",), DEPLOYED
    ),
    "the document ranks a configuration with a draft model first": Case(
        (Injection("optimised-config-first", times=ALWAYS),), "succeeded", "", ("Completed",), DEPLOYED
    ),
    # Endpoints
    "the endpoint answers as vLLM's server does": Case(
        (Injection("vllm-answers"),), "succeeded", "", ("Completed",), DEPLOYED
    ),
    "the endpoint does not come up": Case(
        (Injection("endpoint-fails"),), "failed", "ENDPOINT_FAILED", ("Completed",), DEPLOYED
    ),
    "the base model does not come up": Case(
        (Injection("endpoint-fails", "-base"),), "succeeded", "", ("Completed",), COMPARED
    ),
    # Imported models
    "every function of an import dies once": Case(
        tuple(dies(step, 1) for step in ("ImportModel", "DescribeImport", "AskBatch", "SwitchAlias")),
        "succeeded",
        "",
        ("Completed",),
        IMPORTED,
    ),
    "ImportModel is killed once its import is there, and every call is throttled": Case(
        (
            Injection("function-killed", "ImportModel"),
            *(throttled(call, 6) for call in ("GetModelImportJob", "InvokeModel", "GetImportedModel")),
        ),
        "succeeded",
        "",
        ("Completed",),
        IMPORTED,
    ),
    "ImportModel is always killed once its import is there": Case(
        (Injection("function-killed", "ImportModel", ALWAYS),), "failed", "STEP_OUT_OF_MEMORY", ("Completed",), IMPORTED
    ),
    "SwitchAlias always dies": Case((dies("SwitchAlias"),), "failed", "STEP_CRASHED", ("Completed",), IMPORTED),
    "Bedrock does not import the architecture": Case(
        (Injection("import-fails", message="The model architecture Gemma3ForCausalLM is not supported."),),
        "failed",
        "MODEL_NOT_IMPORTABLE",
        ("Completed",),
        IMPORTED,
    ),
    "Bedrock cannot assume its role": Case(
        (Injection("import-fails", message="Could not assume the role."),),
        "failed",
        "IMPORT_ACCESS_DENIED",
        ("Completed",),
        IMPORTED,
    ),
    "the account has as many imported models as it may": Case(
        (Injection("import-quota", times=ALWAYS, message="You have reached the quota of 3 imported models."),),
        "failed",
        "QUOTA_EXCEEDED",
        ("Completed",),
        IMPORTED,
    ),
    "the imported model was unloaded": Case((Injection("model-unloaded"),), "succeeded", "", ("Completed",), IMPORTED),
    "stopped while it is imported": Case(
        (IMPORT_HANGS,), "aborted", "RUN_ABORTED", ("Completed",), IMPORTED, stopped=ONCE_IT_HAPPENS
    ),
    # Events
    "the upload's event comes twice": Case(
        (Injection("event-duplicated", "run.json"), SCRIPT_FAILS), "failed", "TRAINING_FAILED", ("Failed",)
    ),
    "the upload's event comes twice, and the second execution never gets to see that": Case(
        (Injection("event-duplicated", "run.json"), Injection("function-dies", "PlanRun", 4, after=1)),
        "succeeded",
        "",
        ("Completed",),
    ),
    # Somebody stops the execution
    "stopped before it is planned": Case((dies("PlanRun", 3),), "aborted", "RUN_ABORTED", stopped=ONCE_IT_HAPPENS),
    "stopped while the data is prepared": Case(
        (dies("FinishDataset", 3),), "aborted", "RUN_ABORTED", stopped=ONCE_IT_HAPPENS
    ),
    "stopped before it knows its job": Case(
        (Injection("function-killed", "StartTraining", 3), HANGS),
        "aborted",
        "RUN_ABORTED",
        ("Stopped",),
        stopped=ONCE_IT_HAPPENS,
    ),
    "stopped while it trains": Case((HANGS,), "aborted", "RUN_ABORTED", ("Stopped",), stopped="DescribeTraining"),
    "stopped while the endpoint comes up": Case(
        (ENDPOINT_HANGS,), "aborted", "RUN_ABORTED", ("Completed",), DEPLOYED, stopped="DeployEndpoint"
    ),
}


@dataclass(frozen=True)
class Ended:
    """A run of the table once it had ended, and what it left."""

    run_id: str
    status: dict[str, Any]
    executions: list[str]
    jobs: dict[str, str]
    costing: list[dict[str, Any]]
    uploads: tuple[list[tuple[str, str]], list[tuple[str, str]]]
    """Key and version of what lies under the upload's folder: before, and after."""
    channels: dict[str, bytes]
    notifications: list[str]


@pytest.fixture(scope="module")
def ended(product: Product) -> dict[str, Ended]:
    """All runs of the table, as they ended, after the sweepers came by."""
    mailbox = Mailbox.open(product.emulator)

    def run(case: Case) -> tuple[str, list[tuple[str, str]]]:
        with IMPORTS if case.run_json is IMPORTED else nullcontext():
            return run_to_its_end(product, case)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        runs = list(pool.map(run, CASES.values()))
    left = settled(product, {run_id for run_id, _ in runs})
    return {
        name: Ended(
            run_id=run_id,
            status=product.status(run_id),
            executions=sorted(execution["status"] for execution in product.executions_of(run_id)),
            jobs=product.jobs_of(run_id),
            costing=[thing for thing in left if thing["owner"] == run_id],
            uploads=(uploaded, product.versions(name_of(run_id))),
            channels=product.channels(run_id),
            notifications=mailbox.about(run_id),
        )
        for name, (run_id, uploaded) in zip(CASES, runs, strict=True)
    }


def run_to_its_end(product: Product, case: Case) -> tuple[str, list[tuple[str, str]]]:
    """The run's id, and what was uploaded for it."""
    name = any_name("fault")
    for each in case.injections:
        where = f"{name} {each.where}"
        product.emulator.inject(each.fault, where, times=each.times, after=each.after, message=each.message)
    run_id = product.submit(CHATS, name=name, **case.run_json)
    uploaded = product.versions(name)
    with suppress(AssertionError):  # a run that never ends fails its own tests, not those of all
        if case.stopped:
            stop_at(product, run_id, case.stopped)
        status = product.ended(run_id, seconds=900)
        for execution in product.executions_of(run_id):
            product.execution_ended(execution)
        product.emulator.clear_faults(f"{name} {ENDPOINT_HANGS.where}")  # its endpoint comes up now, after the run
        if status["state"] == "succeeded" and status["endpoint"]:  # wanted, but the account may have only so many
            delete(product, status)
    return run_id, uploaded


def delete(product: Product, status: dict[str, Any]) -> None:
    """Deletes what serves a run."""
    if status["imported_model"]:
        product.emulator.client("bedrock").delete_imported_model(modelIdentifier=status["imported_model"])
    else:
        product.emulator.client("sagemaker").delete_endpoint(EndpointName=status["endpoint"])


def stop_at(product: Product, run_id: str, step: str) -> None:
    execution = product.until_started(run_id)
    if step == ONCE_IT_HAPPENS:
        name = name_of(run_id)
        product.until(run_id, lambda _: any(name in f["match"] for f in product.emulator.happened()), seconds=300)
    else:
        product.until(run_id, lambda status: status.get("step") == step, seconds=300)
    product.emulator.client("stepfunctions").stop_execution(executionArn=execution)


def settled(product: Product, run_ids: set[str]) -> list[dict[str, Any]]:
    """What of the runs still costs money after both sweepers came by, as their schedules have them do.

    What is still being made cannot be deleted, and a function may outlive its execution and start a job: so more than
    once, for as long as it takes an endpoint here to come up.
    """
    deadline = time.monotonic() + 180
    while True:
        product.sweep()
        product.sweep_runs()
        left = [thing for thing in product.emulator.costing() if thing["owner"] in run_ids]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(2)


def name_of(run_id: str) -> str:
    """What the run's upload is called; in every word that a fault for it is matched with."""
    return run_id.rsplit("-", 1)[0]


def test_every_fault_of_the_table_happened(product: Product, ended: dict[str, Ended]) -> None:
    happened = {(fault["fault"], word) for fault in product.emulator.happened() for word in fault["match"].split()}
    for name, case in CASES.items():
        mine = {fault for fault, word in happened if word == name_of(ended[name].run_id)}
        assert {each.fault for each in case.injections} <= mine, name


@pytest.mark.parametrize("name", CASES)
def test_the_run_ends_as_it_should(ended: dict[str, Ended], name: str) -> None:
    run, case = ended[name], CASES[name]
    error = run.status["error"] or {"code": ""}
    assert (run.status["state"], error["code"]) == (case.state, case.code), error
    assert sorted(run.jobs.values()) == sorted(case.jobs)
    expected = {"succeeded": "SUCCEEDED", "failed": "FAILED", "aborted": "ABORTED"}[case.state]
    assert expected in run.executions
    assert len(run.executions) == (2 if any(each.fault == "event-duplicated" for each in case.injections) else 1)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.code])
def test_the_end_is_explained_and_the_team_is_notified(ended: dict[str, Ended], name: str) -> None:
    run, code = ended[name], CASES[name].code
    assert run.status["error"]["message"]
    assert run.status["error"]["fix"]
    assert f"### {code}\n" in RUNBOOK
    assert any(f"Run {run.run_id} {run.status['state']}" in message for message in run.notifications), run.notifications


def test_a_shard_that_exceeds_its_memory_names_its_file_and_what_helps(ended: dict[str, Ended]) -> None:
    error = ended["PrepareShard always exceeds its memory"].status["error"]
    assert "while it read chats.jsonl" in error["message"]
    assert "-c shard_bytes" in error["fix"]


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_that_costs_money(ended: dict[str, Ended], name: str) -> None:
    assert ended[name].costing == []


@pytest.mark.parametrize("name", CASES)
def test_the_uploaded_data_is_untouched(ended: dict[str, Ended], name: str) -> None:
    before, after = ended[name].uploads
    assert before == after
    assert len(after) == 2


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.jobs])
def test_nothing_half_written_was_trained_on(ended: dict[str, Ended], name: str, tmp_path: Path) -> None:
    assert ended[name].channels == undisturbed(CHATS, tmp_path)
