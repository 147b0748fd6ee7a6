"""Whatever capacity AWS has, a run trains and deploys where there is some, and never costs more than its limit.

The real steps run over an account in memory that follows SageMaker's rules as the emulator does. A seed draws which
instance types have capacity and when, and how AWS reports that one has none. The clock is the test's.
"""

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest

from finetuning.aws.clients import client
from finetuning.errors import Code, EndpointFailed, TrainingFailed
from finetuning.handlers import deploy_endpoint, describe_endpoint, describe_training, start_training, step
from finetuning.jumpstart.requests import ENDPOINT_PROVISIONING_SECONDS
from finetuning.operations import run as runs
from finetuning.operations.run import Run
from finetuning.runs.outcomes import PENDING_GRACE
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunStatus
from rehearsal.emulator.sagemaker.errors import CAPACITY_REASONS, ENDPOINT_CAPACITY_REASON
from tests.builders import aws
from tests.builders.aws import FakeAws, FakeSageMaker, client_error
from tests.builders.jumpstart import LLAMA, NOW, planned
from tests.builders.memory import PREFIX, MemoryStore

SEEDS = 1000
REPORTS = ("refuses", "fails", "pends")
"""How AWS reports that a type has no capacity: it refuses the job, the job fails, or the job waits."""
LONGEST_RUN = timedelta(days=20)
Window = tuple[datetime, datetime]


def instance_types(resources: Mapping[str, Any]) -> list[str]:
    """The types that a ResourceConfig allows, in order of preference."""
    alone = [{"InstanceType": resources["InstanceType"]}] if "InstanceType" in resources else []
    return [each["InstanceType"] for each in resources.get("InstancePreferences", alone)]


class Clock:
    """The time of every module of the steps."""

    MODULES = (aws, deploy_endpoint, describe_endpoint, describe_training, runs, start_training)

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        clock = self

        class Now(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return clock.now

        for module in self.MODULES:
            patch.setattr(module, "datetime", Now)


class ScarceSageMaker(FakeSageMaker):
    """SageMaker with the capacity that a seed has drawn."""

    def __init__(self, clock: Clock, draw: random.Random) -> None:
        super().__init__()
        self.clock, self.draw = clock, draw
        self.free: dict[str, Window] = {}
        self.report: dict[str, str] = {}
        self.ends_pending_jobs = draw.random() < 0.5
        self.share_of_estimate = draw.choice((0.4, 0.9, 1, 3))
        self.plan: RunPlan
        self.tries: list[tuple[datetime, list[str]]] = []
        """The time and the types of each request for instances."""

    def has(self, instance_type: str, since: datetime, until: datetime) -> datetime | None:
        """When in this time the type first has an instance."""
        begins, ends = self.free[instance_type]
        first = max(begins, since)
        return first if first <= until and first < ends else None

    def lacks_at(self, instance_type: str, time: datetime) -> bool:
        return self.has(instance_type, time, time) is None

    def draw_for(self, plan: RunPlan) -> None:
        """What capacity the plan's types have: half of them none, the others from the start, later, or not for long."""
        self.plan = plan
        gone, end = NOW - timedelta(hours=1), NOW + 2 * LONGEST_RUN
        for each in sorted({*plan.training.instance_types, *HOSTED_ON}):
            change = NOW + timedelta(hours=self.draw.uniform(0, 4))
            self.free[each] = self.draw.choice([(gone, gone)] * 3 + [(gone, end), (change, end), (gone, change)])
            self.report[each] = self.draw.choice(REPORTS)

    def _create(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        if kind == "training_job":
            self._require_no_other_job()
            types = instance_types(request["ResourceConfig"])
            self.tries.append((self.clock.now, types))
            if all(self.lacks_at(each, self.clock.now) and self.report[each] == "refuses" for each in types):
                raise client_error("CapacityError", CAPACITY_REASONS[0])
        made = super()._create(kind, request)
        if kind == "endpoint":
            self.tries.append((self.clock.now, [self._hosted_on(request)]))
        return made

    def _require_no_other_job(self) -> None:
        going = [name for name, job in self.things["training_job"].items() if "TrainingEndTime" not in job]
        assert not going, f"{going} may still find instances"

    def _hosted_on(self, endpoint: Mapping[str, Any]) -> str:
        config = self.things["endpoint_config"][endpoint["EndpointConfigName"]]
        return str(config["ProductionVariants"][0]["InstanceType"])

    def pass_time(self, seconds: float) -> None:
        """Polls at which nothing has happened are left out."""
        self.clock.now += timedelta(seconds=seconds)
        waiting = [job for job in self.things["training_job"].values() if "TrainingEndTime" not in job]
        creating = [each for each in self.things["endpoint"].values() if each["EndpointStatus"] == "Creating"]
        following = [time for job in waiting for time in self._next(job)]
        following += [self._launched_at(endpoint) or self._launch_limit(endpoint) for endpoint in creating]
        if following:
            self.clock.now = max(self.clock.now, min(following))
        for job in waiting:
            self._change(job)
        for endpoint in creating:
            self._launch(endpoint)
        assert self.clock.now < NOW + LONGEST_RUN, "the run comes to no end"

    def _next(self, job: Mapping[str, Any]) -> Iterator[datetime]:
        """The time at which the job changes, or has to be stopped."""
        if "TrainingStartTime" in job:
            yield job["TrainingStartTime"] + timedelta(seconds=self._trained_seconds(job))
            return
        limit = self._patience(job)
        if job["TrainingJobStatus"] == "Stopping":
            return
        yield min(self.found_in_time(job), default=limit if self._ends(job) else limit + PENDING_GRACE)

    def found_in_time(self, job: Mapping[str, Any]) -> list[datetime]:
        """When the job's types first have an instance, if it waits that long."""
        found = (self.has(t, job["CreationTime"], self._patience(job)) for t in instance_types(job["ResourceConfig"]))
        return [time for time in found if time]

    def _ends(self, job: Mapping[str, Any]) -> bool:
        return self.ends_pending_jobs or not self._pends(job)

    def _pends(self, job: Mapping[str, Any]) -> bool:
        return any(self.report[each] == "pends" for each in instance_types(job["ResourceConfig"]))

    def _patience(self, job: Mapping[str, Any]) -> datetime:
        """When the job ends, or should, without instances."""
        seconds = job["StoppingCondition"]["MaxPendingTimeInSeconds"] if self._pends(job) else 300
        created: datetime = job["CreationTime"]
        return created + timedelta(seconds=seconds)

    def _trained_seconds(self, job: Mapping[str, Any]) -> float:
        option = self.plan.training.option_on(job["ResourceConfig"]["SelectedInstanceType"])
        assert option is not None
        assert option.estimate.seconds is not None
        allowed: int = job["StoppingCondition"]["MaxRuntimeInSeconds"]
        return min(option.estimate.seconds * self.share_of_estimate, allowed)

    def _change(self, job: dict[str, Any]) -> None:
        now, created = self.clock.now, job["CreationTime"]
        if job["TrainingJobStatus"] == "Stopping":
            job |= {"TrainingJobStatus": "Stopped", "SecondaryStatus": "Stopped", "TrainingEndTime": now}
            return
        if "TrainingStartTime" not in job:
            self._look_for_instances(job, created, now)
        if "TrainingStartTime" in job:
            seconds = self._trained_seconds(job)
            if job["TrainingStartTime"] + timedelta(seconds=seconds) > now:
                return
            stopped = seconds == job["StoppingCondition"]["MaxRuntimeInSeconds"]
            status, secondary = ("Stopped", "MaxRuntimeExceeded") if stopped else ("Completed", "Completed")
            job |= {"TrainingJobStatus": status, "SecondaryStatus": secondary, "TrainingEndTime": now}
            job |= {"BillableTimeInSeconds": int(seconds), "ModelArtifacts": {"S3ModelArtifacts": "s3://artifacts/m"}}

    def _look_for_instances(self, job: dict[str, Any], created: datetime, now: datetime) -> None:
        limit, types = self._patience(job), instance_types(job["ResourceConfig"])
        found = {each: time for each in types if (time := self.has(each, created, min(now, limit)))}
        if found:
            selected = min(found, key=lambda each: (found[each], types.index(each)))
            job["ResourceConfig"] = {**job["ResourceConfig"], "SelectedInstanceType": selected}
            job["TrainingStartTime"] = found[selected]
        elif now >= limit and self._ends(job):
            ended: dict[str, Any] = {"TrainingJobStatus": "Stopped", "SecondaryStatus": "Stopped"}
            if not self._pends(job):
                reason = self.draw.choice(CAPACITY_REASONS).format(instance_type=types[-1])
                ended = {"TrainingJobStatus": "Failed", "SecondaryStatus": "Failed", "FailureReason": reason}
            job |= {**ended, "TrainingEndTime": limit, "LastModifiedTime": limit}

    def _launch_limit(self, endpoint: Mapping[str, Any]) -> datetime:
        created: datetime = endpoint["CreationTime"]
        return created + timedelta(seconds=ENDPOINT_PROVISIONING_SECONDS)

    def _launched_at(self, endpoint: Mapping[str, Any]) -> datetime | None:
        return self.has(self._hosted_on(endpoint), endpoint["CreationTime"], self._launch_limit(endpoint))

    def _launch(self, endpoint: dict[str, Any]) -> None:
        launched, now = self._launched_at(endpoint), self.clock.now
        if launched and launched <= now:
            endpoint |= {"EndpointStatus": "InService", "LastModifiedTime": now}
        elif now >= self._launch_limit(endpoint):
            failed = {"EndpointStatus": "Failed", "FailureReason": ENDPOINT_CAPACITY_REASON}
            endpoint |= {**failed, "LastModifiedTime": now}


SMALL, LARGE = LLAMA + "8b-instruct", LLAMA + "70b"
CHOSEN = {"instance_type": "ml.g5.48xlarge", "fallback_instance_types": ["ml.g5.24xlarge", "ml.g4dn.12xlarge"]}
RUN_JSONS: tuple[dict[str, Any], ...] = (
    {"model": SMALL, "training": {"capacity_wait_hours": 0}},
    {"model": SMALL, "training": {"capacity_wait_hours": 1, "max_cost_usd": 3}},
    {"model": SMALL, "training": {"capacity_wait_hours": 6, "max_cost_usd": 12}},
    {"model": SMALL, "training": {**CHOSEN, "capacity_wait_hours": 2, "max_cost_usd": 12}},
    {"model": LARGE, "training": {"capacity_wait_hours": 3, "max_cost_usd": 50}},
)
"""Between one and four jobs a round, of one or two types each."""
HOSTED_ON = ["ml.g5.48xlarge", "ml.g6.48xlarge", "ml.p5.48xlarge", "ml.p4d.24xlarge"]
"""The endpoint's instance type and its fallbacks."""


@cache
def plan_of(number: int) -> RunPlan:
    endpoint = {"instance_type": HOSTED_ON[0], "fallback_instance_types": HOSTED_ON[1:]}
    plan, findings = planned(RUN_JSONS[number] | {"accept_eula": True, "endpoint": endpoint})
    assert not findings
    return plan


class Draw:
    """One run in one draw of capacity."""

    def __init__(self, seed: int, store: MemoryStore, sagemaker: ScarceSageMaker) -> None:
        self.sagemaker, self.plan = sagemaker, plan_of(seed % len(RUN_JSONS))
        sagemaker.draw_for(self.plan)
        self.run = Run(self.plan.run_id, store=store, prefix=PREFIX)
        self.run.save_plan(self.plan)
        store.save(self.run.layout.status, RunStatus.begin(self.plan.run_id, NOW))

    def _step(self, module: Any, **event: Any) -> dict[str, Any]:
        opened = step.open_run(self.plan.run_id, module.__name__)
        result: dict[str, Any] = module.handler.__wrapped__(opened, {"run_id": self.plan.run_id, **event})
        self.sagemaker.pass_time(result["wait_seconds"])
        return result

    def train(self) -> Code | None:
        """The states from StartTraining on; the code of its failure."""
        attempt = 0
        try:
            while True:
                result = self._step(start_training, attempt=attempt)
                job = result["job_name"]
                while result["outcome"] == "in_progress":
                    result = self._step(describe_training, attempt=attempt, job_name=job)
                if result["outcome"] == "completed":
                    return None
                attempt += 1
        except TrainingFailed as failure:
            return failure.code

    def deploy(self) -> Code | None:
        """The states from DeployEndpoint on; the code of its failure."""
        try:
            while True:
                result = self._step(deploy_endpoint, variant="live")
                hosted_on = result["instance_type"]
                while result["outcome"] in ("go", "in_progress"):
                    result = self._step(describe_endpoint, variant="live", instance_type=hosted_on)
                if result["outcome"] == "in_service":
                    return None
        except EndpointFailed as failure:
            return failure.code

    def require_trained(self, ended: Code | None) -> None:
        """Trained where there was capacity, within the limit. Once the time for it is over, capacity that comes after
        a type's last try, while the run waits for another type, is not found.
        """
        training, tries, lacks = self.plan.training, self.sagemaker.tries, self.sagemaker.lacks_at
        jobs = list(self.sagemaker.things["training_job"].values())
        for job in jobs:
            for each in instance_types(job["ResourceConfig"]):
                self._require_within_limit(each, job["StoppingCondition"]["MaxRuntimeInSeconds"])
        billed = [job for job in jobs if "BillableTimeInSeconds" in job]
        for job in billed:
            selected = job["ResourceConfig"]["SelectedInstanceType"]
            self._require_within_limit(selected, job["BillableTimeInSeconds"])
            option = training.option_on(selected)
            assert option is not None
            assert self.run.status.cost.estimate_usd == option.estimate.usd
        if ended == Code.TRAINING_NO_CAPACITY:
            assert not billed
            last_round = tries[-len(training.groups) :]
            assert {each for _, types in last_round for each in types} == {*training.instance_types}
            assert all(lacks(each, time) for time, types in tries for each in types)
            assert not [job for job in jobs if any(self.sagemaker.found_in_time(job))]
            waited = self.sagemaker.clock.now - tries[0][0]
            assert waited >= timedelta(hours=training.capacity_wait_hours)
            return
        assert len(billed) == 1
        assert ended == (Code.TRAINING_OUT_OF_TIME if self.sagemaker.share_of_estimate > 1 else None) or ended is None

    def _require_within_limit(self, instance_type: str, seconds: int) -> None:
        option, limit = self.plan.training.option_on(instance_type), self.plan.training.max_cost_usd
        assert option is not None
        assert option.price is not None
        assert limit is None or seconds / 3600 * option.price.usd_per_hour <= limit

    def require_deployed(self, ended: Code | None) -> None:
        tried = [(time, types[0]) for time, types in self.sagemaker.tries]
        (endpoint,) = self.sagemaker.things["endpoint"].values()
        if ended == Code.ENDPOINT_NO_CAPACITY:
            assert [each for _, each in tried] == HOSTED_ON
            assert all(self.sagemaker.lacks_at(each, time) for time, each in tried)
            return
        assert (ended, endpoint["EndpointStatus"]) == (None, "InService")


def test_a_run_finds_the_capacity_there_is_within_its_limit(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (deploy_endpoint, start_training):
        monkeypatch.setattr(module, "read_model_spec", cache(module.read_model_spec))
    clock, ends, failures = Clock(monkeypatch), [], []
    for seed in range(SEEDS):
        clock.now = NOW
        store, sagemaker = MemoryStore(), ScarceSageMaker(clock, random.Random(seed))
        cloud = FakeAws(sagemaker)
        monkeypatch.setattr(step, "run_store", lambda store=store: store)
        monkeypatch.setattr("boto3.client", lambda service, cloud=cloud, **_: cloud[service])
        client.cache_clear()
        draw = Draw(seed, store, sagemaker)
        try:
            ends.append(draw.train())
            draw.require_trained(ends[-1])
            if ends[-1] is None:
                sagemaker.tries.clear()
                ends.append(draw.deploy())
                draw.require_deployed(ends[-1])
        except Exception as error:  # noqa: BLE001 — every seed is reported
            failures.append(f"seed {seed}, {ends[-1:]}: {type(error).__name__}: {error}")
    client.cache_clear()
    assert not failures, f"{len(failures)} of {SEEDS}:\n" + "\n".join(failures[:12])
    assert {None, Code.TRAINING_NO_CAPACITY, Code.TRAINING_OUT_OF_TIME, Code.ENDPOINT_NO_CAPACITY} == {*ends}
