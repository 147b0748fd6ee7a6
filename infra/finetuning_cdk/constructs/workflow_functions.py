"""Every function of the stage: its permissions, its network and its size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aws_cdk import Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from finetuning.runs.layout import TURNS, measurement
from finetuning.settings import promotion_role
from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.file_permissions import ANY_RUN, StageResources
from finetuning_cdk.constructs.promotion_permissions import PromotionPermissions
from finetuning_cdk.constructs.python_layer import PARQUET, PythonLayer
from finetuning_cdk.constructs.workflow_function import (
    FunctionPlatform,
    FunctionSize,
    WorkflowFunction,
    lambda_permissions,
    network_permissions,
)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One function. `handler` is its module."""

    handler: str
    may: Callable[[PromotionPermissions], PromotionPermissions]
    touches_data: bool = False
    """Such a function runs in the VPC in every stage and calls only S3; others only where control functions do."""
    outlives_network: bool = False
    """Such a function runs in the VPC in no stage."""
    in_other_account: bool = False
    """Such a function has the role that policies of another account name."""
    size: FunctionSize = field(default_factory=FunctionSize)

    @property
    def id(self) -> str:
        """The state's name: `plan_run` is PlanRun."""
        return self.handler.title().replace("_", "")


def _end_run(may: PromotionPermissions) -> PromotionPermissions:
    """Reports a run that ended early, and deletes what it left. The configuration says whether its endpoint served an
    earlier model.
    """
    return (
        may.write_runs(ANY_RUN.claim, *ANY_RUN.report_pages)
        .clean_up_runs()
        .describe("endpoint-config")
        .clean_up_imports()
        .notify()
    )


_ANSWERS, _JUDGED = (ANY_RUN.answers_folder + names for names in ("*.json", "judge-*.json"))

_STEPS = (
    _Step(
        handler="plan_run",
        may=lambda may: (
            may.find_uploads()
            .write_runs(ANY_RUN.claim, ANY_RUN.request, ANY_RUN.plan)
            .read_measurements()
            .read_jumpstart()
            .find_weights()
            .check_plans()
            .find_imports()
            .read_names()
            .check_judges()
        ),
        size=FunctionSize(timeout=300, memory=1024),
    ),
    _Step(
        handler="reframe_parquet",
        may=lambda may: may.read_uploads().write_runs(ANY_RUN.plan, ANY_RUN.shards + "*"),
        touches_data=True,
        size=FunctionSize(timeout=900, memory=4096, disk=10240),
    ),
    _Step(
        handler="plan_shards",
        may=lambda may: may.write_runs(ANY_RUN.dataset_report, ANY_RUN.shards + "*"),
        touches_data=True,
        size=FunctionSize(timeout=300, memory=1024),
    ),
    _Step(
        handler="prepare_shard",
        may=lambda may: may.read_uploads().read_runs().write_files(ANY_RUN.shards + "*"),
        touches_data=True,
        size=FunctionSize(timeout=900, memory=2048, disk=2048, concurrency=100),
    ),
    _Step(
        handler="finish_dataset",
        may=lambda may: may.write_runs(
            ANY_RUN.plan,
            ANY_RUN.dataset_report,
            ANY_RUN.prompts,
            ANY_RUN.train + "*",
            ANY_RUN.validation + "*",
            ANY_RUN.shards + "*",
        ).read_jumpstart(),
        touches_data=True,
        size=FunctionSize(timeout=900, memory=2048, disk=2048),
    ),
    _Step(
        handler="promote_model",
        may=lambda may: may.promote_models(),
        in_other_account=True,
        size=FunctionSize(timeout=900, memory=1024, concurrency=5),
    ),
    _Step(handler="take_turn", may=lambda may: may.read_runs(ANY_RUN.status).write_files(ANY_RUN.status)),
    _Step(handler="start_training", may=lambda may: may.write_runs().read_jumpstart().start_training().stop_training()),
    _Step(
        handler="describe_training",
        may=lambda may: (
            may.write_runs(measurement("*", "*")).describe("training-job").stop_training().read_training_logs()
        ),
    ),
    _Step(
        handler="approve_deployment",
        may=lambda may: may.write_runs(ANY_RUN.approval, *ANY_RUN.report_pages).notify(),
    ),
    _Step(
        handler="deploy_endpoint",
        may=lambda may: (
            may.write_runs(f"{TURNS}*", reading=[f"{TURNS}*"]).read_jumpstart().deploy_endpoints().delete_endpoints()
        ),
    ),
    _Step(
        handler="import_model",
        may=lambda may: may.write_runs(f"{TURNS}*", reading=[f"{TURNS}*"]).import_models(),
        size=FunctionSize(concurrency=10),
    ),
    _Step(
        handler="describe_import",
        may=lambda may: may.write_runs(ANY_RUN.plan, reading=[]).describe_imports(),
        size=FunctionSize(concurrency=10),
    ),
    _Step(
        handler="switch_alias",
        may=lambda may: may.write_runs(reading=[]).delete_imports(),
        size=FunctionSize(concurrency=10),
    ),
    _Step(handler="describe_endpoint", may=lambda may: may.write_runs(ANY_RUN.plan).restore_after_rollback()),
    _Step(
        handler="ask_batch",
        may=lambda may: (
            may.write_runs(_ANSWERS, reading=[ANY_RUN.prompts, _ANSWERS]).invoke_endpoints().invoke_imports()
        ),
        size=FunctionSize(timeout=900, memory=1024),
    ),
    _Step(
        handler="judge_batch",
        may=lambda may: may.write_runs(_JUDGED, reading=[ANY_RUN.prompts, _ANSWERS]).ask_judges(),
        size=FunctionSize(timeout=900, memory=1024, concurrency=10),
    ),
    _Step(
        handler="delete_temporary_endpoint",
        may=lambda may: may.write_runs(reading=[]).delete_temporary_endpoints(),
        size=FunctionSize(concurrency=10),
    ),
    _Step(
        handler="evaluate_answers",
        may=lambda may: may.write_runs(ANY_RUN.evaluation),
        size=FunctionSize(timeout=900, memory=1024, concurrency=10),
    ),
    _Step(handler="scale_endpoint", may=lambda may: may.write_runs(reading=[]).scale_endpoints()),
    _Step(
        handler="register_model",
        may=lambda may: (
            may.read_runs(ANY_RUN.plan, ANY_RUN.status, ANY_RUN.evaluation)
            .write_files(ANY_RUN.status)
            .read_jumpstart()
            .register_models()
            .release_models()
        ),
    ),
    _Step(handler="report_success", may=lambda may: may.write_runs(*ANY_RUN.report_pages).switch_names().notify()),
    _Step(handler="report_failure", may=_end_run),
    _Step(handler="clean_up_run", may=_end_run),
    _Step(
        handler="sweep_runs",
        may=lambda may: (
            may.list_uploads()
            .write_runs(ANY_RUN.claim, *ANY_RUN.report_pages)
            .sweep_runs()
            .describe("endpoint-config")
            .clean_up_imports()
            .notify()
        ),
        size=FunctionSize(timeout=900, concurrency=5),
    ),
    _Step(
        handler="sweep_endpoints",
        may=lambda may: may.read_runs().sweep_endpoints().clean_up_imports().read_invocations().notify(),
        size=FunctionSize(timeout=300, concurrency=5),
    ),
)


class WorkflowFunctions(Construct):
    """The functions by the name of their state or task: `functions["PlanRun"]`.

    `emptied` are the buckets that RemoveRuns empties when the stage is destroyed.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        platform: FunctionPlatform,
        resources: StageResources,
        emptied: Sequence[s3.IBucket],
    ) -> None:
        super().__init__(scope, id)
        remove_runs = _Step(
            handler="remove_runs",
            may=lambda may: (
                may.find("training-job", "model", "endpoint", "endpoint-config")
                .stop_training()
                .delete_endpoints()
                .delete_models()
                .delete_every_import()
                .describe_network_interfaces()
                .go_on()
                .delete_data_in(*emptied)
            ),
            # It waits for the network interfaces of all others, and nobody calls it before the stage is destroyed.
            outlives_network=True,
            size=FunctionSize(timeout=900, concurrency=5),
        )
        parquet = PythonLayer(self, "Parquet", requirements=PARQUET)
        of_all, in_network = lambda_permissions(self, "OfAll", platform), network_permissions(self, "InNetwork")
        self._functions: dict[str, WorkflowFunction] = {}
        for step in (*_STEPS, remove_runs):
            in_vpc = step.touches_data or (platform.config.control_functions_in_vpc and not step.outlives_network)
            self._functions[step.id] = WorkflowFunction(
                self,
                step.id,
                handler=step.handler,
                platform=platform,
                permissions=step.may(PromotionPermissions(self, f"{step.id}Permissions", resources=resources)),
                shared=[of_all, *([in_network] if in_vpc else [])],
                role_name=_promotion_role(self, platform.config) if step.in_other_account else None,
                in_vpc=in_vpc,
                size=step.size,
                more_layers=[parquet] if step.handler == "reframe_parquet" else [],
            )

    def __getitem__(self, name: str) -> lambda_.Function:
        return self._functions[name]

    def items(self) -> Sequence[tuple[str, lambda_.Function]]:
        return list(self._functions.items())


def _promotion_role(scope: Construct, config: StageConfig) -> str | None:
    return promotion_role(config.stage, Stack.of(scope).region) if config.promote_from else None
