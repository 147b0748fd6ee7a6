"""The faults that `make rehearse FAULT=…` lets happen to its run, and how the run should then end."""

import re
from dataclasses import dataclass, replace
from typing import Any

from finetuning.errors import Code
from finetuning.runs.status import RunState, RunStatus
from rehearsal.emulator.faults import Fault

RUN_JSON = "run.json"
ALWAYS = 1000


@dataclass(frozen=True)
class Scenario:
    """A fault for the run: what it hits (`part`, as the fault matches it) and how often, and the end it should lead to.

    With a part or number of the user's own the end is open: `state` is None then.
    """

    fault: Fault
    story: str
    state: RunState | None
    code: str = ""
    part: str = ""
    times: int = 1
    message: str = ""

    @property
    def of_an_update(self) -> bool:
        """True if it needs an endpoint that an earlier run serves."""
        return self.fault in (Fault.ROLLBACK, Fault.UPDATE_LATE)

    @property
    def of_an_import(self) -> bool:
        """True if it happens to a model that is served in Bedrock."""
        return self.fault in _OF_IMPORTS

    def of_inbox(self) -> "Scenario":
        """The same for an upload without a run.json."""
        return replace(self, part="inbox/") if self.part == RUN_JSON else self

    def judge(self, status: RunStatus, happened: int, costing: list[dict[str, Any]], wanted: set[str]) -> list[str]:
        """What is not as it should be, a line each. `wanted` names the endpoints that were asked for and answer."""
        code = str((status.error or {}).get("code", ""))
        wrong = [] if happened else [f"the fault {self.fault} did not happen: nothing matched {self.part or 'it'}"]
        if self.state and (status.state, code) != (self.state, self.code):
            wrong.append(f"the run should have {self.state} {self.code}".rstrip() + f", and it {status.state} {code}")
        if status.state is not RunState.SUCCEEDED and not (status.error or {}).get("fix"):
            wrong.append("the error does not say what to do")
        return wrong + [f"{describe_cost(thing)} still costs money" for thing in costing if thing["name"] not in wanted]


_OF_IMPORTS = {Fault.IMPORT_FAILS, Fault.IMPORT_QUOTA, Fault.MODEL_UNLOADED, Fault.MODEL_NEVER_LOADED}

SCENARIOS = {
    scenario.fault: scenario
    for scenario in (
        Scenario(
            Fault.CAPACITY,
            "AWS has no instance of the first type: the next one is tried, re-priced.",
            RunState.SUCCEEDED,
        ),
        Scenario(
            Fault.PENDING,
            "The training job waits for instances for days: it is stopped in time, and the next type is tried.",
            RunState.SUCCEEDED,
        ),
        Scenario(
            Fault.PENDING_ENDS,
            "SageMaker ends a training job that waited too long for instances: the next type is tried.",
            RunState.SUCCEEDED,
        ),
        Scenario(
            Fault.JOB_FAILS,
            "The training script fails: the run fails, and says why.",
            RunState.FAILED,
            Code.TRAINING_FAILED,
        ),
        Scenario(
            Fault.JOB_STOPS,
            "Somebody stops the training job: that is no success.",
            RunState.FAILED,
            Code.TRAINING_STOPPED,
        ),
        Scenario(
            Fault.JOB_TIMES_OUT,
            "The training job reaches its maximum run time.",
            RunState.FAILED,
            Code.TRAINING_OUT_OF_TIME,
        ),
        Scenario(
            Fault.THROTTLING,
            "SageMaker refuses CreateTrainingJob more often than the SDK tries: the state machine tries again.",
            RunState.SUCCEEDED,
            part="CreateTrainingJob",
            times=6,
        ),
        Scenario(
            Fault.ENDPOINT_FAILS,
            "The endpoint does not come up: it is taken away, the model stays.",
            RunState.FAILED,
            Code.ENDPOINT_FAILED,
        ),
        Scenario(
            Fault.ENDPOINT_NO_CAPACITY,
            "AWS has no instances for the endpoint: it is taken away, the model stays.",
            RunState.FAILED,
            Code.ENDPOINT_NO_CAPACITY,
        ),
        Scenario(
            Fault.UPDATE_LATE,
            "A second run updates the first one's endpoint, which does not show at once: that is no rollback.",
            RunState.SUCCEEDED,
        ),
        Scenario(
            Fault.ROLLBACK,
            "A second run updates the first one's endpoint, and SageMaker rolls back: the first model still answers.",
            RunState.FAILED,
            Code.ENDPOINT_ROLLED_BACK,
        ),
        Scenario(
            Fault.GZIP_OUTPUT,
            "The specification does not say that the output is not compressed; the run asks for that anyway.",
            RunState.SUCCEEDED,
            times=ALWAYS,
        ),
        Scenario(
            Fault.OPTIMISED_CONFIG_FIRST,
            "The specification ranks a configuration first that needs a draft model: the next one is taken.",
            RunState.SUCCEEDED,
            times=ALWAYS,
        ),
        Scenario(
            Fault.VLLM_ANSWERS,
            "The endpoint answers as vLLM's server does: its answers are read and judged.",
            RunState.SUCCEEDED,
        ),
        Scenario(
            Fault.IMPORT_FAILS,
            "Bedrock does not import the model's architecture: the tuned model stays.",
            RunState.FAILED,
            Code.MODEL_NOT_IMPORTABLE,
            message="The model architecture Gemma3ForCausalLM is not supported.",
        ),
        Scenario(
            Fault.IMPORT_QUOTA,
            "The account has as many imported models as it may, and none of them can go: the tuned model stays.",
            RunState.FAILED,
            Code.QUOTA_EXCEEDED,
            times=ALWAYS,
            message="You have reached the quota of 3 imported models per account.",
        ),
        Scenario(
            Fault.MODEL_UNLOADED,
            "Nobody called the imported model for a while: the call is repeated until it is loaded again.",
            RunState.SUCCEEDED,
        ),
        Scenario(
            Fault.MODEL_NEVER_LOADED,
            "Bedrock does not load the imported model within five minutes: it is deleted, the tuned model stays.",
            RunState.FAILED,
            Code.MODEL_NOT_READY,
            times=ALWAYS,
        ),
        Scenario(
            Fault.EVENT_LOST,
            "The event of the upload is lost: the sweeper finds the upload, and starts its run.",
            RunState.SUCCEEDED,
            part=RUN_JSON,
        ),
        Scenario(
            Fault.EVENT_DUPLICATED,
            "The event of the upload comes twice: there is one run.",
            RunState.SUCCEEDED,
            part=RUN_JSON,
        ),
        Scenario(
            Fault.FUNCTION_DIES,
            "A function ends before it did anything: its step is tried again.",
            RunState.SUCCEEDED,
            part="FinishDataset",
        ),
        Scenario(
            Fault.FUNCTION_KILLED,
            "StartTraining is killed once its job is there: the next try finds that job.",
            RunState.SUCCEEDED,
            part="StartTraining",
        ),
        Scenario(
            Fault.FUNCTION_IDLE,
            "PlanShards was not called for weeks and has lost its network: Lambda refuses it until it has a new one.",
            RunState.SUCCEEDED,
            part="PlanShards",
            times=5,
        ),
        Scenario(
            Fault.THROTTLED_ACCOUNT,
            "Other software uses all concurrent executions of the account: Lambda refuses the run's functions.",
            RunState.SUCCEEDED,
            times=8,
            message="0",
        ),
    )
}


def read_scenario(text: str) -> Scenario:
    """`FAULT`, `FAULT:PART` or `FAULT:PART:TIMES`. Raises `ValueError`, which lists the faults."""
    found = re.fullmatch(r"([^:]+)(?::([^:]*))?(?::(\d+))?", text)
    if not found or found[1] not in SCENARIOS:
        raise ValueError(f"There is no fault {text!r}. There are: {', '.join(SCENARIOS)}.")
    usual = SCENARIOS[Fault(found[1])]
    wished = replace(usual, part=found[2] or usual.part, times=int(found[3] or usual.times))
    return usual if wished == usual else replace(wished, state=None, code="")


def describe_cost(thing: dict[str, Any]) -> str:
    """One of `Emulator.costing()` in words."""
    owner = f" of the run {thing['owner']}" if thing["owner"] else ""
    return (
        f"{thing['kind']} {thing['name']}{owner} ({thing['status']}, {thing['instances']} × {thing['instance_type']})"
    )
