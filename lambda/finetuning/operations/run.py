"""A run, by its id: the documents it has left in the artifacts bucket, its names, and its status as it is recorded."""

from datetime import UTC, datetime
from typing import Any

import orjson

from finetuning.aws.run_store import RunStore
from finetuning.datasets.workspace import Workspace
from finetuning.evaluation.results import EvaluationReport
from finetuning.jumpstart.target import Target
from finetuning.runs.layout import RunLayout
from finetuning.runs.names import Names
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Metric, Rung, RunState, RunStatus
from finetuning.settings import settings


class Run:
    """One run of the stage whose resources are named `prefix`-….

    `step` is the state or function that records events. Steps that work at the same time may all record: status.json
    is written only as it was read. plan.json is not protected: one step at a time changes it.
    """

    def __init__(self, run_id: str, *, store: RunStore, prefix: str, step: str = "") -> None:
        self.run_id = run_id
        self.store = store
        self.layout = RunLayout(run_id)
        self._prefix = prefix
        self._step = step
        self._plan: RunPlan | None = None

    def other(self, run_id: str) -> "Run":
        """Another run of the same stage."""
        return Run(run_id, store=self.store, prefix=self._prefix, step=self._step)

    @property
    def plan(self) -> RunPlan:
        """plan.json, read once. Raises `FineTuningError` (INTERNAL_ERROR) if there is none."""
        if self._plan is None:
            self._plan = self.store.load(self.layout.plan, RunPlan)
        return self._plan

    def find_plan(self) -> RunPlan | None:
        """plan.json, or None for a run that ended before it was planned."""
        if self._plan is None:
            self._plan = self.store.find(self.layout.plan, RunPlan)
        return self._plan

    def save_plan(self, plan: RunPlan) -> None:
        self.store.save(self.layout.plan, plan)
        self._plan = plan

    @property
    def names(self) -> Names:
        """The names of the run's resources. Only `endpoint` needs the plan: the user may have chosen its name."""
        plan = self.find_plan()
        return plan.names(self._prefix) if plan else Names(self._prefix, self.run_id)

    def find_status(self) -> RunStatus | None:
        """status.json as it is now, or None before the first step has written it."""
        return self.store.find(self.layout.status, RunStatus)

    @property
    def status(self) -> RunStatus:
        """status.json as it is now; a new one before the first step has written it."""
        return self.find_status() or RunStatus.begin(self.run_id, datetime.now(UTC))

    @property
    def tuned_model(self) -> str:
        """S3 URI of the tuned model's files, ending in `/`; "" before a training job has started."""
        status = self.status
        if status.model_artifact or not status.training_job:
            return status.model_artifact
        # The run was trained by an earlier version, which did not record what the job reported.
        return f"s3://{self.store.bucket}/{self.layout.model_artifact(status.training_job)}"

    def has_tuned_model(self) -> bool:
        """True if the files of the tuned model exist."""
        artifact = self.tuned_model
        return bool(artifact) and not self.store.is_empty(artifact.removeprefix(f"s3://{self.store.bucket}/"))

    def find_evaluation(self) -> EvaluationReport | None:
        """evaluation.json, or None for a run that was not evaluated."""
        return self.store.find(self.layout.evaluation, EvaluationReport)

    @property
    def files(self) -> Workspace:
        """The run's folder, as the workspace of the steps that prepare its data."""
        return self.store.workspace(self.layout.root)

    def record(
        self,
        message: str,
        *,
        step: str | None = None,
        links: dict[str, str] | None = None,
        metrics: list[Metric] | None = None,
        rung: Rung | None = None,
        **changes: Any,
    ) -> RunStatus:
        """Adds an event (none for an empty `message`), the metrics and the attempt to get instances (`rung`) to
        status.json, and sets the fields of `RunStatus` in `changes`. Returns the new status.

        `step`: whose event it is, if not this step's. `links` are added to those that the run has.
        """

        def changed(status: RunStatus | None) -> RunStatus:
            now = datetime.now(UTC)
            status = status or RunStatus.begin(self.run_id, now)
            status = status.with_event(step or self._step, message, now, **changes).with_metrics(metrics or [])
            status = status.model_copy(update={"links": status.links | (links or {})})
            return status.with_rung(rung) if rung else status

        return self.store.update(self.layout.status, RunStatus, changed)

    def is_owned_by(self, execution_arn: str) -> bool:
        """True if this execution was the first to claim the run, now or in an earlier attempt.

        An upload that is delivered twice starts two executions; the second must not change the run of the first.
        """
        claim = _claim_of(execution_arn)
        return self.store.claim(self.layout.claim, claim) == claim

    def is_claimed(self) -> bool:
        """True once any execution has claimed the run."""
        return self.store.read(self.layout.claim) is not None

    def take_over(self, execution_arn: str) -> bool:
        """Makes this execution the owner of a run that has ended, and sets the status to running. False if the run has
        not ended, or if another execution was the first to take it over.
        """

        def taken(status: RunStatus | None) -> RunStatus:
            status = status or RunStatus.begin(self.run_id, datetime.now(UTC))
            if not status.state.is_final:
                return status
            return status.model_copy(update={"execution_arn": execution_arn, "state": RunState.RUNNING})

        # status.json decides, not the claim: of two executions that find the run ended, only one can write it as read.
        status = self.store.update(self.layout.status, RunStatus, taken)
        if status.execution_arn != execution_arn:
            return False
        self.store.write(self.layout.claim, _claim_of(execution_arn))
        return True


def _claim_of(execution_arn: str) -> bytes:
    return orjson.dumps({"execution_arn": execution_arn})


def target() -> Target:
    """Where this stage's jobs and endpoints run, with which role and which key."""
    stage = settings()
    return Target(
        prefix=stage.prefix,
        stage=stage.stage,
        region=stage.aws_region,
        bucket=stage.artifacts_bucket,
        role_arn=stage.execution_role_arn,
        subnets=stage.subnet_ids,
        security_groups=stage.security_group_ids,
        kms_key_arn=stage.kms_key_arn,
        gated_weights=stage.gated_weights,
        import_role_arn=stage.import_role_arn,
    )
