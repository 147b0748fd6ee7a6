import json
import re
from fnmatch import fnmatchcase
from typing import Any, cast

import pytest
from aws_cdk import App, Stack

from finetuning.lazy_model import NO_PLUGINS
from finetuning.settings import Settings, StageSettings
from finetuning_cdk.config import SET_BY_LAMBDA
from finetuning_cdk.constructs.encrypted_log_group import STATES_LOGS
from finetuning_cdk.constructs.file_permissions import StageResources
from finetuning_cdk.constructs.step_permissions import StepPermissions
from finetuning_cdk.state_machine.definition import all_states, definition
from tests.infra.synthesis import Synthesised, as_filled

MAX_CHARACTERS = 6_144
"""Of a managed policy, without white space (IAM's quotas)."""
DATA_FUNCTIONS = {"ReframeParquet", "PlanShards", "PrepareShard", "FinishDataset"}


def functions(stage: Synthesised) -> dict[str, dict[str, Any]]:
    """Properties by handler."""
    return {f["Properties"]["Handler"]: f["Properties"] for f in stage.resources("AWS::Lambda::Function").values()}


def name_of(handler: str) -> str:
    return handler.split(".")[2].title().replace("_", "")


def statements_allowing(stage: Synthesised, action: str) -> dict[str, dict[str, Any]]:
    """The statement that allows the action, by the logical id of its policy."""
    return {
        id: statement
        for id, policy in stage.resources("AWS::IAM::ManagedPolicy").items()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


def test_every_function_has_every_setting(stage: Synthesised) -> None:
    optional = {name.upper() for name, field in Settings.model_fields.items() if not field.is_required()}
    expected = {name.upper() for name in Settings.model_fields if name not in SET_BY_LAMBDA}
    for properties in functions(stage).values():
        given = set(properties["Environment"]["Variables"]) - {"POWERTOOLS_SERVICE_NAME", *NO_PLUGINS}
        assert expected - optional <= given <= expected


def test_logs_metrics_and_traces_name_the_stage(stage: Synthesised) -> None:
    for properties in functions(stage).values():
        assert properties["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == stage.stage.node.id


def test_functions_share_one_asset(stage: Synthesised) -> None:
    assert len({json.dumps(properties["Code"]) for properties in functions(stage).values()}) == 1


def test_the_asset_contains_only_the_package(stage: Synthesised) -> None:
    (asset,) = [path for path in stage.folder.glob("asset.*") if (path / "finetuning").is_dir()]
    assert [path.name for path in asset.iterdir()] == ["finetuning"]
    assert not list(asset.rglob("__pycache__"))


def test_in_dev_only_functions_with_data_run_in_the_vpc(dev: Synthesised) -> None:
    inside = {name_of(handler) for handler, properties in functions(dev).items() if "VpcConfig" in properties}
    assert inside == DATA_FUNCTIONS


def test_in_prod_every_function_but_the_one_that_outlives_it_runs_in_the_vpc(prod: Synthesised) -> None:
    outside = [name for name, properties in functions(prod).items() if "VpcConfig" not in properties]
    assert outside == ["finetuning.handlers.remove_runs.handler"]


@pytest.mark.parametrize("name", sorted(DATA_FUNCTIONS))
def test_functions_with_data_call_only_s3(stage: Synthesised, name: str) -> None:
    """In dev nothing else is reachable. Lambda itself calls the other services in this list."""
    services = {
        action.split(":")[0]
        for statement in stage.policy(name)
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert services <= {"s3", "kms", "logs", "xray", "ec2", "sqs"}


def test_the_function_that_registers_a_model_reads_no_data(stage: Synthesised) -> None:
    (statement,) = (each for each in stage.policy("RegisterModel") if each["Action"] == "s3:GetObject")
    of_runs = [resource for resource in map(json.dumps, statement["Resource"]) if "jumpstart" not in resource]
    assert len(of_runs) == 3
    assert all(re.search(r"/runs/\*/(plan|status|evaluation)\.json", resource) for resource in of_runs)


def test_in_prod_the_functions_reserve_at_most_500_concurrent_calls(prod: Synthesised) -> None:
    assert sum(properties["ReservedConcurrentExecutions"] for properties in functions(prod).values()) <= 500


def test_a_task_times_out_shortly_after_its_function(stage: Synthesised) -> None:
    timeouts = {name_of(handler): properties["Timeout"] for handler, properties in functions(stage).items()}
    checked = 0
    for name, state in all_states(definition()):
        calls = "FunctionName" in state.get("Arguments", {})
        if calls and isinstance(state["TimeoutSeconds"], int):
            assert state["TimeoutSeconds"] == timeouts[state["Arguments"]["FunctionName"][2:-1]] + 30, name
            checked += 1
    assert checked > 10


def test_failed_asynchronous_calls_are_kept(stage: Synthesised) -> None:
    for properties in functions(stage).values():
        assert "DeadLetters" in json.dumps(properties["DeadLetterConfig"])


def test_only_the_parquet_function_has_the_parquet_layer(stage: Synthesised) -> None:
    (layer,) = [id for id in stage.resources("AWS::Lambda::LayerVersion") if "Parquet" in id]
    carriers = [handler for handler, each in functions(stage).items() if {"Ref": layer} in each["Layers"]]
    assert carriers == ["finetuning.handlers.reframe_parquet.handler"]
    everything = json.dumps(functions(stage))
    assert ":layer:" not in everything  # no layer of another account


def test_training_jobs_are_limited_to_network_key_types_and_time(stage: Synthesised) -> None:
    (statement,) = statements_allowing(stage, "sagemaker:CreateTrainingJob").values()
    condition = statement["Condition"]
    assert condition["Null"] == dict.fromkeys(
        ("sagemaker:VpcSubnets", "sagemaker:VpcSecurityGroupIds", "sagemaker:InstanceTypes"), "false"
    )
    assert condition["NumericLessThanEquals"] == {"sagemaker:MaxRuntimeInSeconds": str(24 * 3600)}
    assert condition["Bool"]["sagemaker:NetworkIsolation"] == "true"
    assert "sagemaker:OutputKmsKeyArn" in condition["ArnEquals"]


@pytest.mark.parametrize("action", ["CreateTrainingJob", "CreateModel", "CreateEndpoint", "DeleteEndpoint"])
def test_sagemaker_resources_are_limited_to_the_stage_prefix(stage: Synthesised, action: str) -> None:
    allowed = statements_allowing(stage, f"sagemaker:{action}")
    assert allowed
    for statement in allowed.values():
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        for resource in resources:
            assert f"/finetune-{stage.stage.node.id.split('-')[1]}-*" in json.dumps(resource)


def test_only_two_functions_may_pass_the_execution_role(stage: Synthesised) -> None:
    allowed = statements_allowing(stage, "iam:PassRole")
    assert {id.removeprefix("Functions").split("Permissions")[0] for id in allowed} == {
        "StartTraining",
        "DeployEndpoint",
    }
    for statement in allowed.values():
        assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


@pytest.mark.parametrize("stage", ["prod", "with_options", "importing", "releasing", "promoting"])
def test_every_policy_fits_with_the_longest_names(request: pytest.FixtureRequest, stage: str) -> None:
    """IAM refuses a managed policy with more characters, white space left out, when the stack is created."""
    synthesised: Synthesised = request.getfixturevalue(stage)
    policies = synthesised.resources("AWS::IAM::ManagedPolicy")
    assert len(policies) > 30
    for id, policy in policies.items():
        text = json.dumps(as_filled(policy["Properties"]["PolicyDocument"]), separators=(",", ":"))
        assert len(text.replace(synthesised.settings.prefix, "finetune-abcdefgh")) <= MAX_CHARACTERS, id


def test_jobs_write_only_training_output_and_captured_calls(stage: Synthesised) -> None:
    policies = stage.templates["workflow"].find_resources("AWS::IAM::ManagedPolicy")
    (policy,) = [p for id, p in policies.items() if id.startswith("ExecutionRolePermissions")]
    written = [
        statement["Resource"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "s3:PutObject" in statement["Action"]
    ]
    (places,) = written
    ends = {json.dumps(place).rpartition("/runs/*/")[2] for place in places}
    assert ends == {'training/*"]]}', 'capture/*"]]}'}


def test_only_uploads_start_runs(stage: Synthesised) -> None:
    (pattern,) = [
        rule["Properties"]["EventPattern"]
        for rule in stage.resources("AWS::Events::Rule").values()
        if rule["Properties"]["EventPattern"]["source"] == ["aws.s3"]
    ]
    assert "Uploads" in json.dumps(pattern["detail"]["bucket"]["name"])
    assert pattern["detail"]["object"]["key"] == [{"wildcard": "inbox/*.*"}, {"wildcard": "runs/*/run.json"}]


def test_an_execution_that_ends_early_is_cleaned_up(stage: Synthesised) -> None:
    (rule,) = [
        rule["Properties"]
        for rule in stage.resources("AWS::Events::Rule").values()
        if rule["Properties"]["EventPattern"]["source"] == ["aws.states"]
    ]
    assert rule["EventPattern"]["detail"]["status"] == ["ABORTED", "FAILED", "TIMED_OUT"]
    assert "CleanUpRun" in json.dumps(rule["Targets"])


def test_undelivered_events_are_kept(stage: Synthesised) -> None:
    targets = [t for rule in stage.resources("AWS::Events::Rule").values() for t in rule["Properties"]["Targets"]]
    schedules = stage.resources("AWS::Scheduler::Schedule").values()
    assert all("DeadLetterConfig" in each for each in [*targets, *(s["Properties"]["Target"] for s in schedules)])


def test_sweeps_run_every_15_minutes(stage: Synthesised) -> None:
    stage.templates["workflow"].has_resource_properties(
        "AWS::Scheduler::Schedule", {"ScheduleExpression": "rate(15 minutes)", "State": "ENABLED"}
    )


def test_a_failed_sweep_is_not_retried_with_the_same_period(stage: Synthesised) -> None:
    functions = {
        config["Properties"]["FunctionName"]["Ref"]
        for config in stage.resources("AWS::Lambda::EventInvokeConfig").values()
        if config["Properties"]["MaximumRetryAttempts"] == 0 and config["Properties"]["Qualifier"] == "$LATEST"
    }
    swept = [
        schedule["Properties"]["Target"]["Arn"] for schedule in stage.resources("AWS::Scheduler::Schedule").values()
    ]
    assert {arn["Fn::GetAtt"][0] for arn in swept} == functions
    assert len(swept) == 2


def test_runs_are_removed_after_the_trigger_and_before_their_resources(stage: Synthesised) -> None:
    ((removal, resource),) = stage.resources("Custom::RunRemoval").items()
    assert "RemoveRuns" in json.dumps(resource["Properties"]["ServiceToken"])
    rules = stage.resources("AWS::Events::Rule")
    (trigger,) = [rule for id, rule in rules.items() if id.startswith("Trigger")]
    assert removal in trigger["DependsOn"]


def test_interfaces_are_waited_for_after_the_functions_in_the_network_and_by_one_outside(stage: Synthesised) -> None:
    ((release, resource),) = stage.resources("Custom::InterfaceRelease").items()
    assert len(resource["Properties"]["SecurityGroups"]) == 2
    functions = stage.resources("AWS::Lambda::Function")
    inside = {id: each for id, each in functions.items() if "VpcConfig" in each["Properties"]}
    assert inside
    assert all(each["DependsOn"] == [release] for each in inside.values())
    (remove_runs,) = [id for id in functions if id.startswith("FunctionsRemoveRuns")]
    assert remove_runs not in inside
    assert resource["Properties"]["ServiceToken"] == {"Fn::GetAtt": [remove_runs, "Arn"]}
    assert statements_allowing(stage, "ec2:DescribeNetworkInterfaces")


@pytest.mark.parametrize("stage_name", ["dev", "abcdefgh"])
def test_the_removal_may_call_itself_under_the_name_that_cloudformation_gives_it(stage_name: str) -> None:
    """CloudFormation cuts both parts of a name that would be longer than the 64 characters of a function's, as in
    mylongerapp-playground-ne-InstancesLifecycleHandle-1GRP3N0TVA1LD.
    """
    stack = Stack(App(), "Workflow", stack_name=f"finetune-{stage_name}-workflow")
    policy = StepPermissions(stack, "Permissions", resources=cast(StageResources, None)).go_on()
    allowed = json.dumps(stack.resolve(policy.document)).partition(":function:")[2].partition('"')[0]
    name = f"{stack.stack_name[:25]}-FunctionsRemoveRuns0A1B2C3D"[: 25 + 1 + 24] + "-1GRP3N0TVA1LD"
    assert len(name) <= 64
    assert fnmatchcase(name, allowed)
    assert not fnmatchcase(name.replace("RemoveRuns", "PlanRun"), allowed)


def test_only_dev_is_emptied_when_it_is_destroyed(dev: Synthesised, prod: Synthesised) -> None:
    def emptied(stage: Synthesised) -> int:
        (removal,) = stage.resources("Custom::RunRemoval").values()
        return len(removal["Properties"]["EmptyBuckets"])

    assert (emptied(dev), emptied(prod)) == (3, 0)
    assert not list(statements_allowing(prod, "s3:DeleteObjectVersion"))


def test_dev_stops_log_deliveries_before_it_empties_buckets(dev: Synthesised, prod: Synthesised) -> None:
    (removal,) = dev.resources("Custom::RunRemoval").values()
    access_logs = removal["Properties"]["AccessLogs"]
    assert access_logs in removal["Properties"]["EmptyBuckets"]
    assert "AccessLogs" in json.dumps(access_logs)
    ((policy, allowed),) = statements_allowing(dev, "s3:DeleteBucketPolicy").items()
    assert "RemoveRuns" in policy
    assert isinstance(allowed["Resource"], dict)
    assert "AccessLogs" in json.dumps(allowed["Resource"])
    assert not list(statements_allowing(prod, "s3:DeleteBucketPolicy"))


def test_the_workflow_log_is_a_vended_log_that_the_key_may_encrypt(stage: Synthesised) -> None:
    names = [
        json.dumps(group["Properties"]["LogGroupName"])
        for group in stage.resources("AWS::Logs::LogGroup").values()
        if "LogGroupName" in group["Properties"]
    ]
    (machine,) = stage.resources("AWS::StepFunctions::StateMachine").values()
    (destination,) = machine["Properties"]["LoggingConfiguration"]["Destinations"]
    assert "WorkflowLogs" in json.dumps(destination)
    prefix = f"{STATES_LOGS}{stage.settings.prefix}-"
    assert len(names) == 1
    assert prefix in names[0]
    assert '{"Ref": "AWS::StackId"}' in names[0]
    (key,) = stage.resources("AWS::KMS::Key").values()
    assert f":log-group:{prefix}*" in json.dumps(key["Properties"]["KeyPolicy"])


def test_an_output_has_the_settings_that_runs_are_planned_with(stage: Synthesised) -> None:
    value = stage.templates["workflow"].to_json()["Outputs"]["StageSettings"]["Value"]
    read = StageSettings.model_validate_json(value)
    assert read == StageSettings(**dict(stage.settings))
    assert read.endpoint_ttl_hours == (8 if read.stage == "dev" else "never")


def test_users_find_what_they_need_in_the_outputs(stage: Synthesised) -> None:
    outputs = {
        name: output.get("Description", "")
        for stack in ("workflow", "monitoring")
        for name, output in stage.templates[stack].to_json()["Outputs"].items()
        if not name.startswith("Exports")
    }
    assert all(len(description) > 20 for description in outputs.values())
    assert set(outputs) == {
        "UploadBucketName",
        "ArtifactsBucketName",
        "StateMachineArn",
        "TopicArn",
        "StageSettings",
        "ViewerPolicyArn",
        "DataScientistPolicyArn",
        "OperatorPolicyArn",
        "DashboardUrl",
    }


def test_a_judge_is_called_by_its_exact_id_and_by_one_function(importing: Synthesised, prod: Synthesised) -> None:
    asked = [each for each in importing.policy("JudgeBatch") if "InvokeModel" in str(each["Action"])]
    named = json.dumps([each["Resource"] for each in asked])
    assert named.count(":foundation-model/amazon.nova-pro-v1:0") == 1
    assert named.count(":inference-profile/us.amazon.nova-lite-v1:0") == 1
    (routed,) = [each for each in asked if "Condition" in each]
    assert ":bedrock:*::foundation-model/amazon.nova-lite-v1:0" in json.dumps(routed["Resource"])
    assert ":inference-profile/us.amazon.nova-lite-v1:0" in json.dumps(routed["Condition"]["ArnEquals"])
    others = [name for name, _ in importing.stage.workflow.functions.items() if name not in ("JudgeBatch", "AskBatch")]
    assert not [name for name in others if "bedrock:InvokeModel" in json.dumps(importing.policy(name))]
    assert "bedrock" not in json.dumps(prod.policy("JudgeBatch"))


def test_the_preflight_reads_whether_the_judges_can_be_called(importing: Synthesised, prod: Synthesised) -> None:
    granted = {str(each["Action"]): json.dumps(each["Resource"]) for each in importing.policy("PlanRun")}
    assert "foundation-model/amazon.nova-pro-v1:0" in granted["bedrock:GetFoundationModel"]
    assert "foundation-model/amazon.nova-lite-v1:0" in granted["bedrock:GetFoundationModel"]
    assert "inference-profile/us.amazon.nova-lite-v1:0" in granted["bedrock:GetInferenceProfile"]
    assert "bedrock" not in json.dumps(prod.policy("PlanRun"))
