"""What IAM is asked about a deployed stage."""

from typing import Any

from finetuning_cli.live.resources import StageResources, recorded_calls
from finetuning_cli.live.stage_checks import check_permissions
from tests.builders.aws import FakeAws

REGION = "eu-west-1"
PLANNING = "workflow.FunctionsPlanRun"


def any_stage(*roles: str) -> StageResources:
    """A stage with those of the recorded roles that begin so."""
    names = {call["role"].strip("{}") for call in recorded_calls()}
    found = {name: ("AWS::IAM::Role", f"finetune-alice-{name}") for name in names if name.startswith(roles)}
    return StageResources(found, {"account": "123456789012", "region": REGION, "prefix": "finetune-alice"})


def simulated(cloud: FakeAws, stage: StageResources) -> list[dict[str, Any]]:
    """The requests to IAM, which allows everything."""
    asked: list[dict[str, Any]] = []

    def simulate(**request: Any) -> dict[str, Any]:
        asked.append(request)
        allowed = [{"EvalActionName": name, "EvalDecision": "allowed"} for name in request["ActionNames"]]
        return {"EvaluationResults": allowed}

    cloud["iam"].answers["simulate_principal_policy"] = simulate
    assert all(check.ok for check in check_permissions(stage))
    return asked


def keys_of(request: dict[str, Any]) -> dict[str, list[str]]:
    return {entry["ContextKeyName"]: entry["ContextKeyValues"] for entry in request["ContextEntries"]}


def test_each_call_is_in_the_region_where_the_stage_makes_it(cloud: FakeAws) -> None:
    regions = {
        action: keys_of(request)["aws:RequestedRegion"]
        for request in simulated(cloud, any_stage(PLANNING))
        for action in request["ActionNames"]
    }
    assert regions.pop("pricing:GetProducts") == ["us-east-1"]
    assert set(map(tuple, regions.values())) == {(REGION,)}


def test_only_a_stage_that_imports_models_is_asked_about_imports(cloud: FakeAws) -> None:
    def actions(*roles: str) -> set[str]:
        asked = simulated(cloud, any_stage(PLANNING, *roles))
        return {action for request in asked for action in request["ActionNames"] if action.startswith("bedrock:")}

    assert actions() == set()
    assert actions("workflow.ImportRole") == {"bedrock:ListImportedModels", "bedrock:ListModelImportJobs"}
    assert actions("workflow.FunctionsRemoveRuns") > {"bedrock:DeleteImportedModel"}


def test_a_tag_names_the_stage_that_is_asked_about(cloud: FakeAws) -> None:
    asked = simulated(cloud, any_stage("workflow.Functions", "workflow.ImportRole"))
    tags = {key: value for request in asked for key, value in keys_of(request).items() if "created-by" in key}
    assert set(map(tuple, tags.values())) == {("finetune-alice",)}
