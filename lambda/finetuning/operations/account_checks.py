"""Checks that need the account: artefacts, quotas, names, key and role. They read; they start nothing.

Each check adds its lines to the preflight's table: red if AWS says no, yellow with the reason if AWS gives no answer.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.errors import error_code
from finetuning.aws.import_quota import check_import_quota
from finetuning.aws.judge_access import check_access, is_reachable, not_reachable
from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.aws.sagemaker import is_absent
from finetuning.aws.service_quotas import Quotas
from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.spec import ModelSpec
from finetuning.jumpstart.target import Target
from finetuning.planning.checklist import Checklist
from finetuning.planning.evaluation_terms import without_comparison
from finetuning.planning.judge_terms import FIELD as JUDGE
from finetuning.planning.training_options import drop_fallback
from finetuning.runs.aliases import Alias
from finetuning.runs.ownership import owners_tag, refusal
from finetuning.runs.plan import JudgePlan, RunPlan, TrainingOption
from finetuning.runs.tags import OWNER_TAG
from finetuning.settings import Replacement


class AccountChecks:
    """Checks one plan against the account in which it will run."""

    def __init__(self, spec: ModelSpec, plan: RunPlan, target: Target, checklist: Checklist) -> None:
        self._spec = spec
        self._plan = plan
        self._target = target
        self._checklist = checklist
        types = plan.training.instance_types
        self._optional = set() if plan.training.fallbacks_chosen else set(types[1:])
        self._left_out: set[str] = set()
        self._no_comparison = ""

    def remaining_plan(self) -> RunPlan:
        """The plan without the default fallback types that cannot be used here, and without a comparison that nobody
        asked for and the quota is too small for.
        """
        training = self._plan.training
        options = [option for option in training.options if option.instance_type not in self._left_out]
        plan = self._plan.model_copy(update={"training": training.model_copy(update={"options": options})})
        return without_comparison(plan, self._no_comparison) if self._no_comparison else plan

    def artefacts(self, bucket: JumpStartBucket) -> None:
        """The training script, and the gated weights if this role may look."""
        for (name, key), what in bucket.artefacts(self._spec, self._plan.training.instance_types).items():
            try:
                there = bucket.has(name, key)
            except FineTuningError as error:
                self._checklist.unknown("artefacts", f"{what}: {error.message}")
                continue
            if there is None:
                self._checklist.unknown(
                    "artefacts", f"{what}: no permission to look at s3://{name}/{key}; the training job may have it"
                )
            elif there:
                self._checklist.passed("artefacts", f"{what}: s3://{name}/{key}")
            else:
                message = (
                    f"{what.capitalize()} of {self._spec.model_id} {self._spec.version} not found: s3://{name}/{key}."
                )
                fix = "Pin another version with model_version, or choose another instance type."
                self._missing(key, Finding(Code.ARTIFACT_MISSING, "model", message, fix))

    def quotas(self, quotas: Quotas) -> None:
        """One instance of each training type, and the endpoints' instances."""
        plan = self._plan
        for position, instance_type in enumerate(plan.training.instance_types):
            field = "training.fallback_instance_types" if position else "training.instance_type"
            verdict = quotas.check(instance_type, "training", 1, field)
            if isinstance(verdict, Finding) and position == 0 and plan.training.training_plan_arn:
                verdict = f"whether a job on a training plan needs this quota is not documented. {verdict.message}"
            if isinstance(verdict, Finding) and instance_type in self._optional:
                self._leave_out(instance_type, verdict)
            else:
                self._note("quota", instance_type + " for training", verdict)
        if plan.endpoint.deploy:
            self.endpoint_quota(quotas)

    def import_quota(self, quotas: Quotas, bedrock: Callable[[], Any]) -> None:
        """Room for the imported model, if the run imports one. `bedrock` makes boto3's client."""
        if self._plan.endpoint.deploy and self._plan.endpoint.target == "bedrock":
            verdict = check_import_quota(quotas, bedrock(), self._plan.names(self._target.prefix))
            self._note("quota", "imported models", verdict)

    def judge(self, bedrock: Callable[[], Any], now: datetime) -> None:
        """Whether the judge would answer, if the run may have one. `bedrock` makes boto3's client."""
        if judge := self._judge:
            against = list(check_access(bedrock(), judge.model, now))
            for each in against:
                self._note("judge", judge.model, each)
            if not against:
                self._checklist.passed("judge", f"{judge.model} is available to this account")

    def way_to_judge(self, runtime: Callable[[], Any]) -> None:
        """Whether functions in this network reach the judge. `runtime` makes boto3's client."""
        if (judge := self._judge) and not is_reachable(runtime()):
            self._checklist.found("judge", not_reachable(judge.model))

    @property
    def _judge(self) -> JudgePlan | None:
        """None for one that was refused before: the stage may have no permission to ask about it."""
        refused = any(finding.field == JUDGE for finding in self._checklist.findings)
        return None if refused else self._plan.evaluation.judge

    def training_plan(self, sagemaker: Any, now: datetime) -> None:
        """The bought plan, if the run uses one: of the first instance type, in this region, with enough time left."""
        arn, option = self._plan.training.training_plan_arn, self._plan.training.options[0]
        if arn is None:
            return
        region, name, here = arn.split(":")[3], arn.rpartition("/")[2], self._target.region
        if region != here:
            self._refuse_training_plan(f"The training plan {name} is in {region}; the stage is in {here}.")
            return
        if not name.startswith(f"{self._target.prefix}-"):
            self._refuse_training_plan(
                f"The training plan {name} is not this stage's: its name does not begin with {self._target.prefix}-."
            )
            return
        try:
            bought = sagemaker.describe_training_plan(TrainingPlanName=arn)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and is_absent(error):
                self._refuse_training_plan(f"The training plan {name} does not exist.")
            else:
                self._checklist.unknown("training plan", str(error))
            return
        capacities = bought.get("ReservedCapacitySummaries", [])
        reserved = [each for each in capacities if each["InstanceType"] == option.instance_type]
        ends = [each["EndTime"] for each in (*reserved, bought) if "EndTime" in each]
        if bought["Status"] not in ("Active", "Scheduled"):
            self._refuse_training_plan(f"The training plan {name} is {bought['Status']}.")
        elif "training-job" not in bought.get("TargetResources", ["training-job"]):
            self._refuse_training_plan(f"The training plan {name} is for {', '.join(bought['TargetResources'])}.")
        elif not reserved:
            types = " and ".join(sorted({each["InstanceType"] for each in capacities})) or "no instances"
            self._refuse_training_plan(f"The training plan {name} has {types}, not {option.instance_type}.")
        elif not ends:
            self._checklist.unknown("training plan", f"{name}: SageMaker does not say when it ends")
        else:
            begins = max(now, bought.get("StartTime", now))
            self._training_plan_time(name, option, (max(ends) - begins).total_seconds())

    def _training_plan_time(self, name: str, option: TrainingOption, seconds: float) -> None:
        """Whether the training fits into the plan's last `seconds`."""
        estimate = option.estimate.seconds
        if seconds <= 0:
            self._refuse_training_plan(f"The training plan {name} has no time left.")
        elif estimate and seconds < estimate:
            self._refuse_training_plan(
                f"The training plan {name} has {seconds / 3600:.1f} hours left; the training is estimated to take "
                f"{estimate / 3600:.1f} hours."
            )
        else:
            self._checklist.passed("training plan", f"{name}: {option.instance_type}, {seconds / 3600:.1f} hours left")

    def _refuse_training_plan(self, message: str) -> None:
        fix = "Name another plan in training.training_plan_arn, or remove it to train on demand."
        self._checklist.found(
            "training plan", Finding(Code.TRAINING_PLAN_UNUSABLE, "training.training_plan_arn", message, fix)
        )

    def endpoint_quota(self, quotas: Quotas, *, evaluated: bool = True) -> None:
        """The instances of the endpoints that stand at the same time, on each of the endpoint's types.

        Those of the evaluation have as many as the live one. All may stand beside an earlier model's endpoint, which
        is gone only after its update. Autoscaling may need more later. An imported model has no endpoint.
        """
        compared = evaluated and self._plan.evaluation.compare_with_base
        serves = self._plan.endpoint.target == "sagemaker"
        verdicts = self._endpoint_verdicts(quotas, serves + compared)
        lacking = next((each for each in verdicts.values() if isinstance(each, Finding)), None)
        if compared and lacking and self._plan.evaluation.compared_by_cost:
            other = "a second endpoint" if serves else "the base model's endpoint"
            self._no_comparison = f"the quota has no room for {other}. {lacking.message} {lacking.fix}"
            verdicts = self._endpoint_verdicts(quotas, int(serves))
        for instance_type, verdict in verdicts.items():
            self._note("quota", f"{instance_type} for the endpoint", verdict)

    def _endpoint_verdicts(self, quotas: Quotas, endpoints: int) -> dict[str, Finding | str | None]:
        """What the quota says of each type, if so many endpoints of this run stand at the same time."""
        endpoint, names = self._plan.endpoint, self._plan.names(self._target.prefix)
        together = endpoint.instance_count * endpoints
        if not together:
            return {}
        then = max(together, endpoint.most_instances)
        others = [each.instance_type for each in (*endpoint.pools[1:], *endpoint.fallbacks)]
        return {
            each: quotas.check(
                each,
                "endpoint",
                together,
                "endpoint.fallback_instance_types" if position else "endpoint.instance_type",
                then=then,
                replaced=names.endpoint,
            )
            for position, each in enumerate((endpoint.instance_type, *others))
        }

    def names(self, sagemaker: Any, replacement: Replacement) -> None:
        """Whether the names of the endpoint and of the first training job are free, or already this stage's: an
        endpoint is then updated, if the upload may replace its model, and a job is found again by a step that is
        retried. `replacement`: the stage's `endpoint_replacement`.
        """
        names = self._plan.names(self._target.prefix)
        looked_up = (
            ("endpoint", names.endpoint, sagemaker.describe_endpoint, "Endpoint"),
            ("training job", names.training_job(0), sagemaker.describe_training_job, "TrainingJob"),
        )
        for what, name, describe, noun in looked_up:
            named = f"{what} {name}"
            try:
                arn = describe(**{f"{noun}Name": name})[f"{noun}Arn"]
                tags = sagemaker.list_tags(ResourceArn=arn)["Tags"]
            except (ClientError, BotoCoreError) as error:
                if isinstance(error, ClientError) and error_code(error) in ("ValidationException", "ResourceNotFound"):
                    self._checklist.passed("names", f"{named} does not exist yet")
                else:
                    self._checklist.unknown("names", f"{named}: {error}")
                continue
            if {"Key": OWNER_TAG, "Value": self._target.prefix} in tags:
                by_key = {tag["Key"]: tag["Value"] for tag in tags}
                if what == "endpoint" and (found := refusal(name, self._plan.uploader, by_key, replacement)):
                    self._checklist.found("names", found)
                    continue
                if what == "endpoint" and self._plan.endpoint.is_imported:
                    self._checklist.warned(
                        "names",
                        f"The {named} keeps running and costs money by the hour until it expires: an imported model "
                        "does not replace it.",
                        "Delete it once nobody calls it any more, or choose another endpoint.name.",
                    )
                    continue
                self._checklist.passed("names", f"{named} belongs to this stage")
            else:
                self._checklist.found(
                    "names",
                    Finding(
                        Code.NAME_TAKEN,
                        "endpoint.name" if what == "endpoint" else "",
                        f"The {named} exists, and this stage did not create it.",
                        "Choose another endpoint.name in run.json, or delete the existing one.",
                    ),
                )

    def alias(self, alias: Alias | None, replacement: Replacement) -> None:
        """Whether the upload may replace the imported model that the name stands for, or stood for last."""
        if alias is None or not alias.owners:
            return
        name, tags = self._plan.names(self._target.prefix).endpoint, owners_tag(alias.owners)
        if found := refusal(name, self._plan.uploader, tags, replacement):
            self._checklist.found("names", found)
        else:
            self._checklist.passed("names", f"the name {name} belongs to this stage")

    def key(self, kms: Any) -> None:
        """The stage's key exists and is enabled."""
        arn = self._target.kms_key_arn
        try:
            key = kms.describe_key(KeyId=arn)["KeyMetadata"]
        except (ClientError, BotoCoreError) as error:
            self._absent_or_unknown(
                "key", error, "NotFoundException", Code.KMS_KEY_UNUSABLE, f"The key {arn} does not exist."
            )
            return
        if key.get("KeyState") == "Enabled":
            self._checklist.passed("key", f"{arn} is enabled")
        else:
            self._refuse(
                "key", Code.KMS_KEY_UNUSABLE, f"The key {arn} is not enabled; its state is {key.get('KeyState')}."
            )

    def role(self, iam: Any) -> None:
        """The execution role exists and SageMaker may assume it."""
        name = self._target.role_arn.rsplit("/", 1)[-1]
        try:
            trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        except (ClientError, BotoCoreError) as error:
            self._absent_or_unknown(
                "role", error, "NoSuchEntity", Code.ROLE_UNUSABLE, f"The role {name} does not exist."
            )
            return
        document = trust if isinstance(trust, str) else orjson.dumps(trust).decode()
        if "sagemaker.amazonaws.com" in document:
            self._checklist.passed("role", f"SageMaker can assume {name}")
        else:
            self._refuse("role", Code.ROLE_UNUSABLE, f"SageMaker is not allowed to assume the role {name}.")

    def _missing(self, key: str, finding: Finding) -> None:
        """Missing weights do not fail the run if only default fallback types need them."""
        types = [t for t in self._plan.training.instance_types if self._spec.gated_key(t) == key]
        if types and self._optional.issuperset(types):
            for instance_type in types:
                self._leave_out(instance_type, finding)
        else:
            self._checklist.found("artefacts", finding)

    def _leave_out(self, instance_type: str, finding: Finding) -> None:
        self._left_out.add(instance_type)
        drop_fallback(instance_type, finding.message, self._checklist)

    def _note(self, check: str, what: str, verdict: Finding | str | None) -> None:
        if verdict is None:
            self._checklist.passed(check, f"{what}: sufficient")
        elif isinstance(verdict, str):
            self._checklist.unknown(check, f"{what}: {verdict}")
        else:
            self._checklist.found(check, verdict)

    def _absent_or_unknown(self, check: str, error: Exception, absent: str, code: Code, message: str) -> None:
        if isinstance(error, ClientError) and error_code(error) == absent:
            self._refuse(check, code, message)
        else:
            self._checklist.unknown(check, str(error))

    def _refuse(
        self, check: str, code: Code, message: str, fix: str = "Deploy the stacks again to restore it."
    ) -> None:
        self._checklist.found(check, Finding(code, "", message, fix))
