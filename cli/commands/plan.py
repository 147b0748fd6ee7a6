"""`finetune plan`, `finetune models`, `finetune verify-aws`: what a run would do and cost, before it does."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import botocore.session
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.display.checks import checks_table
from cli.display.runs import plain
from cli.errors import require_sign_in
from cli.facts import FACTS, SpecFolder
from cli.options import AsJson, print_json
from cli.verification import verify_aws
from finetuning.aws.advisory import advisory_client
from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.aws.upload_bucket import RUN_FILE, TEMPLATE_FILE, is_data
from finetuning.datasets.detection import HEAD_BYTES, Detection, detect
from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.assumptions import fallback_price
from finetuning.jumpstart.catalogue import CATALOGUE, ModelSupport
from finetuning.jumpstart.requests import Request, Target
from finetuning.jumpstart.spec import ModelSpec
from finetuning.operations.account_checks import AccountChecks
from finetuning.operations.preflight import account_quotas, price_list
from finetuning.planning.checklist import Checklist
from finetuning.planning.orders import OPERATIONS, check_requests, run_requests
from finetuning.planning.planner import make_plan
from finetuning.planning.submission import LookUp, StageDefaults, Submission, look_up_prices, settle_model
from finetuning.runs.plan import DataFile, RunPlan
from finetuning.runs.run_json import RunRequest, read_request
from finetuning.runs.uploads import Upload

__all__ = ["models", "plan", "verify_aws"]

Region = Annotated[str, typer.Option(envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="The AWS region to plan for.")]
Specs = Annotated[
    Path | None,
    typer.Option(
        file_okay=False, exists=True, help="A folder laid out as the JumpStart bucket. Default: the project's own."
    ),
]
Live = Annotated[bool, typer.Option("--live", help="Ask AWS for specifications, prices and quotas. Starts nothing.")]


def plan(
    run_json: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A run.json; data beside it is counted in.")
    ],
    specs: Specs = None,
    region: Region = "us-east-1",
    as_json: AsJson = False,
    live: Live = False,
) -> None:
    """Tell what a run would do, cost and ask of SageMaker, and everything that is wrong with it.

    \b
    Examples:
      finetune plan examples/chat/run.json
      finetune plan run.json --live --region eu-central-1
      finetune plan run.json --json | jq .requests

    Exit code: 0 where the run can start, 1 where it would be refused.
    """
    if live:
        require_sign_in(region)
    checklist, here = Checklist(), _placeholders(region)
    request, findings = read_request(run_json.read_bytes())
    checklist.found("run.json", *findings)
    jumpstart = JumpStartBucket(advisory_client("s3", region), region) if live else SpecFolder(specs or FACTS)
    stage = _stage(here)
    spec = settle_model(request, stage, jumpstart.spec, checklist)
    planned: RunPlan | None = None
    if spec is not None:
        prices = look_up_prices(request, spec, price_list(region).price if live else fallback_price)
        submission = _submission(run_json, request)
        planned = make_plan(submission, spec, stage, prices, checklist)
        checklist.found("data", *_without_data(run_json, submission))
        if isinstance(jumpstart, JumpStartBucket):
            planned = _ask_account(spec, planned, here, jumpstart, checklist)
        if spec.model_id != (request.model or stage.default_model) or request.model_version not in (None, spec.version):
            checklist.unknown("model", f"the rest is judged as {spec.model_id} {spec.version}")
    requests = _requests(spec, planned, here, checklist)
    good = not checklist.findings
    if as_json:
        document = {
            "ok": good,
            "findings": [asdict(finding) for finding in checklist.findings],
            "plan": planned.model_copy(update={"checks": checklist.checks}).model_dump(mode="json")
            if planned and good
            else None,
            "requests": {name: requests.get(name) for name in OPERATIONS},
        }
        print_json(document)
    else:
        Console().print(
            f"Judged as in a stage that allows {stage.max_runtime_hours:g} h of training and any instance type, has no "
            "budget and accepts no licence; a deployed one may allow less."
        )
        Console().print(checks_table(checklist.checks))
        Console().print(
            "[green]This run can start.[/]" if good else "[red]This run would be refused. Nothing was started.[/]"
        )
    if not good:
        raise typer.Exit(1)


def models(specs: Specs = None, region: Region = "us-east-1", as_json: AsJson = False, live: Live = False) -> None:
    """List what can be tuned: tasks, instance types, prices, and where the facts are from.

    \b
    Examples:
      finetune models
      finetune models --json | jq '.[0].hyperparameters'
    """
    if live:
        require_sign_in(region)
    jumpstart = JumpStartBucket(advisory_client("s3", region), region) if live else SpecFolder(specs or FACTS)
    look_up = price_list(region).price if live else fallback_price
    rows = [_model_row(support, jumpstart, look_up) for support in CATALOGUE.values()]
    if as_json:
        print_json(rows)
        return
    console = Console()
    for row in rows:
        console.print(plain(row["model"], "bold"))
        console.print(_model_facts(row))
    console.print("USD for an hour of an instance; the default instance type first.")


def _model_row(support: ModelSupport, jumpstart: SpecFolder | JumpStartBucket, look_up: LookUp) -> dict[str, Any]:
    """What `--json` prints of a model; prices are None where none is known."""
    tasks = {"model": support.model_id, "tasks": [*support.tasks], "planned_tasks": [*support.planned]}
    try:
        spec = jumpstart.spec(support.model_id)
    except FineTuningError as error:
        return tasks | {"error": error.message}

    def priced(
        use: Literal["training", "hosting"], default: str, supported: tuple[str, ...]
    ) -> dict[str, float | None]:
        prices = {instance_type: look_up(instance_type, use) for instance_type in dict.fromkeys([default, *supported])}
        return {instance_type: price.usd_per_hour if price else None for instance_type, price in prices.items()}

    return tasks | {
        "method": support.method,
        "version": spec.version,
        "provenance": spec.provenance,
        "training_instance_types": priced(
            "training", spec.default_training_instance_type, spec.supported_training_instance_types
        ),
        "endpoint_instance_types": priced(
            "hosting", spec.default_inference_instance_type, spec.supported_inference_instance_types
        ),
        "hyperparameters": {
            p.name: p.model_dump(mode="json", exclude={"name", "scope"}, exclude_defaults=True)
            for p in spec.hyperparameters
            if p.scope == "algorithm"
        },
        "regions": sorted(spec.training_instance_type_variants.regional_aliases),
    }


def _model_facts(row: dict[str, Any]) -> Table | Text:
    if "error" in row:
        return plain(row["error"], "red")

    def priced(types: dict[str, float | None], shown: int) -> str:
        lines = [f"{name} {f'{usd:.2f}' if usd else '?'}" for name, usd in types.items()]
        return "\n".join(lines[:shown] + ([f"and {len(lines) - shown} more"] if len(lines) > shown else []))

    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1))
    for column in ("tasks", "trained on", "answers on", "facts"):
        table.add_column(column, overflow="fold", ratio=1)
    table.add_row(
        plain("\n".join([*row["tasks"], *(f"({task}: planned)" for task in row["planned_tasks"])])),
        plain(priced(row["training_instance_types"], 5)),
        plain(priced(row["endpoint_instance_types"], 3)),
        plain(f"{row['version']}\n{row['provenance']}\n{row['method']}"),
    )
    return table


def _placeholders(region: str) -> Target:
    """Stands for what only a deployment knows; the forms are those of real ARNs and ids."""
    return Target(
        prefix="finetune-dev",
        stage="dev",
        region=region,
        bucket="finetune-dev-artifacts-placeholder",
        role_arn="arn:aws:iam::000000000000:role/placeholder-execution-role",
        subnets=("subnet-placeholder1", "subnet-placeholder2"),
        security_groups=("sg-placeholder",),
        kms_key_arn=f"arn:aws:kms:{region}:000000000000:key/placeholder",
    )


def _stage(here: Target) -> StageDefaults:
    """A stage that limits nothing: a deployed one may allow less, and its PlanRun says so."""
    return StageDefaults(
        stage=here.stage,
        prefix=here.prefix,
        region=here.region,
        default_model="meta-textgeneration-llama-3-1-8b-instruct",
        accept_eula=False,
        max_runtime_hours=100,
        max_cost_usd=None,
        endpoint_ttl_hours=8,
        endpoint_idle_minutes=60,
    )


def _submission(run_json: Path, request: RunRequest) -> Submission:
    """As if it were uploaded: a file named run.json with the data beside it, any other alone."""
    folder = run_json.resolve().parent
    prefix = f"runs/{folder.name}/"
    beside = sorted(path for path in folder.iterdir() if path.is_file()) if run_json.name == RUN_FILE else []
    template = [path for path in beside if path.name == TEMPLATE_FILE]
    data = [path for path in beside if is_data(path.name)]
    return Submission(
        upload=Upload("finetune-dev-upload-placeholder", prefix + RUN_FILE, "placeholder"),
        request=request,
        planned_at=datetime.now(UTC),
        files=tuple(
            DataFile(key=prefix + path.name, version_id="placeholder", size=path.stat().st_size, etag="placeholder")
            for path in data
        ),
        detections=tuple(_detection(path) for path in data),
        template_file=template[0].read_bytes() if template else None,
    )


def _without_data(run_json: Path, submission: Submission) -> Iterator[Finding]:
    """What the workflow would refuse about the data of a file named run.json; another is judged without any."""
    folder, heads = run_json.parent, submission.detections
    if run_json.name == RUN_FILE and not heads:
        yield Finding(
            Code.UPLOAD_WITHOUT_DATA,
            "",
            f"There is no data file beside {run_json}.",
            "Put the data into the same folder; to judge the settings alone, give the file another name.",
        )
    elif heads and not submission.parquet and not any(head.kinds or head.refusal for head in heads):
        yield Finding(
            Code.DATASET_REFUSED,
            "",
            "None of the data's first rows was recognised.",
            f"See what is wrong with each: finetune check {folder}",
        )


def _detection(path: Path) -> Detection:
    with path.open("rb") as file:
        return detect(file.read(HEAD_BYTES), path.name, path.stat().st_size)


def _ask_account(
    spec: ModelSpec, planned: RunPlan, here: Target, jumpstart: JumpStartBucket, checklist: Checklist
) -> RunPlan:
    account = AccountChecks(spec, planned, here, checklist)
    account.artefacts(jumpstart)
    account.quotas(account_quotas(here.region))
    return account.remaining_plan()


def _requests(
    spec: ModelSpec | None, planned: RunPlan | None, here: Target, checklist: Checklist
) -> dict[str, Request]:
    """The requests of a run that may start, judged by the service model; none beside findings."""
    if spec is None or planned is None or checklist.findings:
        return {}
    built = run_requests(spec, planned, here)
    check_requests(built, botocore.session.get_session().get_service_model("sagemaker"), checklist)
    return {} if checklist.findings else built
