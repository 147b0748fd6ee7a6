"""`finetune plan`, `finetune models` and `finetune verify-aws`, offline and against an emulated account."""

import json
import shutil
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from typer.testing import CliRunner

from finetuning.aws.clients import advisory_client
from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.assumptions import Price, fallback_price
from finetuning.jumpstart.catalogue import CATALOGUE
from finetuning.jumpstart.spec import cache_bucket, private_bucket
from finetuning.runs.status import Check
from finetuning_cli.live import account
from finetuning_cli.live.assumptions import open_assumptions
from finetuning_cli.live.resources import StageResources
from finetuning_cli.main import app
from finetuning_cli.preflight import verification
from finetuning_cli.stage.deployment import Deployment
from tests.builders.cli import SIGNED_OUT
from tests.builders.datasets import any_chat_rows, any_file
from tests.builders.jumpstart import BASE_70B, FACTS, LLAMA, any_spec, document

REGION = "us-east-1"
REQUESTS = [
    "create_training_job",
    "create_model",
    "create_endpoint_config",
    "create_endpoint",
    "create_model_import_job",
]


def finetune(*arguments: str | Path, **environment: str | None) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=SIGNED_OUT | environment)
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def run_file(folder: Path, document: dict[str, Any], name: str = "my.run.json") -> Path:
    """Under another name than run.json it is judged without data."""
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def planned(*arguments: str | Path) -> dict[str, Any]:
    _, output = finetune("plan", *arguments, "--json")
    printed: dict[str, Any] = json.loads(output)
    assert list(printed) == ["ok", "findings", "plan", "data", "requests"]
    assert list(printed["requests"]) == REQUESTS
    return printed


def test_a_405b_chat_plan_has_its_exact_requests(tmp_path: Path) -> None:
    model_id = LLAMA + "405b-instruct-fp8"
    printed = planned(run_file(tmp_path, {"model": model_id, "accept_eula": True, "task": "chat"}))
    assert (printed["ok"], printed["findings"]) == (True, [])
    job = printed["requests"]["create_training_job"]
    assert job["ResourceConfig"]["InstanceType"] == "ml.p5.48xlarge"
    assert job["HyperParameters"]["chat_dataset"] == '"True"'
    assert job["HyperParameters"]["max_input_length"] == '"8000"'
    assert job["Environment"]["SageMakerGatedModelS3Uri"].endswith(f"/p5/v1.0.0/train-{model_id}.tar.gz")
    assert printed["requests"]["create_model"]["ModelName"] == printed["requests"]["create_endpoint"]["EndpointName"]
    assert printed["plan"]["model_id"] == model_id


def test_five_errors_are_five_findings_without_plan_and_requests(tmp_path: Path) -> None:
    faulty = {
        "modle": "x",
        "task": "instruction",
        "model": LLAMA + "405b-fp8",
        "hyperparameters": {"epoch": 0},
        "training": {"instance_type": "ml.g5.12xlarge"},
    }
    path = run_file(tmp_path, faulty)
    assert finetune("plan", path, "--json")[0] == 1
    printed = planned(path)
    assert [finding["field"] for finding in printed["findings"]] == [
        "modle",
        "accept_eula",
        "task",
        "training.instance_type",
        "hyperparameters.epoch",
    ]
    assert all(list(finding) == ["code", "field", "message", "fix"] for finding in printed["findings"])
    assert printed["plan"] is None
    assert set(printed["requests"].values()) == {None}


def test_specs_reads_the_documents_of_another_folder(tmp_path: Path) -> None:
    shutil.copytree(FACTS, tmp_path / "specs")
    spec = document(BASE_70B) | {"training_prepacked_script_key": "another/script.tar.gz", "version": "2.16.10"}
    key = f"community_models/{BASE_70B}/specs_v2.16.10.json"
    (tmp_path / "specs" / key).write_text(json.dumps(spec))
    manifest = [{"model_id": BASE_70B, "version": "2.16.10", "min_version": "1", "spec_key": key}]
    (tmp_path / "specs" / "models_manifest.json").write_text(json.dumps(manifest))
    asked = run_file(tmp_path, {"model": BASE_70B, "accept_eula": True, "task": "chat"})
    printed = planned(asked, "--specs", tmp_path / "specs", "--region", "eu-west-1")
    assert printed["plan"]["model_version"] == "2.16.10"
    channels = printed["requests"]["create_training_job"]["InputDataConfig"]
    uri = channels[-1]["DataSource"]["S3DataSource"]["S3Uri"]
    assert uri == "s3://jumpstart-cache-prod-eu-west-1/another/script.tar.gz"


def test_a_model_without_a_document_is_a_finding_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    asked = run_file(tmp_path, {"model": BASE_70B, "accept_eula": True})
    printed = planned(asked, "--specs", tmp_path / "specs")
    assert [finding["code"] for finding in printed["findings"]] == ["MODEL_SPEC_UNUSABLE"]
    assert BASE_70B in printed["findings"][0]["message"]


def test_data_is_read_beside_run_json_and_not_beside_another_name(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "Add", "context": "", "response": "7"}\n')
    asked = {"accept_eula": True}
    beside = planned(run_file(tmp_path, asked, "run.json"))["plan"]
    assert (beside["task"], [file["key"].rpartition("/")[2] for file in beside["data_files"]]) == (
        "instruction",
        ["rows.jsonl"],
    )
    alone = planned(run_file(tmp_path, asked, "another.json"))
    assert (alone["plan"]["task"], alone["plan"]["data_files"], alone["data"]) == (None, [], None)


@pytest.mark.parametrize(
    ("data", "code"), [(None, "UPLOAD_WITHOUT_DATA"), ('{"messages": [\n{oops}\n', "DATASET_REFUSED")]
)
def test_a_folder_whose_data_the_workflow_would_refuse_is_refused(tmp_path: Path, data: str | None, code: str) -> None:
    if data:
        (tmp_path / "rows.jsonl").write_text(data)
    run_file(tmp_path, {"accept_eula": True}, "run.json")
    printed = planned(tmp_path)
    assert [finding["code"] for finding in printed["findings"]] == [code]
    assert not printed["ok"]


def test_every_row_of_the_data_is_checked(tmp_path: Path) -> None:
    any_file(tmp_path, [*any_chat_rows(30), b"{broken"])
    (finding,) = planned(tmp_path, "--accept-eula")["findings"]
    assert finding["message"].startswith("1 of 31 lines cannot be used")
    assert finding["fix"].endswith(f"To see each line: finetune check {tmp_path}")


def test_a_data_file_is_planned_with_options_instead_of_a_run_json(tmp_path: Path) -> None:
    path = any_file(tmp_path, any_chat_rows(30))
    printed = planned(path, "--accept-eula", "--epochs", "3", "--max-cost", "20", "--model", LLAMA + "8b")
    plan = printed["plan"]
    assert (plan["model_id"], plan["task"], plan["training"]["max_cost_usd"]) == (LLAMA + "8b", "chat", 20)
    assert plan["training"]["options"][0]["hyperparameters"]["epoch"] == "3"
    rows = printed["data"]["rows"]
    assert (plan["dataset"]["train_rows"], plan["dataset"]["validation_rows"]) == (rows["train"], rows["validation"])


def test_options_are_merged_into_run_json(tmp_path: Path) -> None:
    asked = {"hyperparameters": {"lora_r": 16}, "training": {"max_runtime_hours": 2}, "accept_eula": True}
    path = run_file(tmp_path, asked)
    plan = planned(path, "--epochs", "2", "--max-cost", "9")["plan"]
    assert plan["requested_hyperparameters"] == {"lora_r": 16, "epoch": 2}
    assert (plan["training"]["max_runtime_hours"], plan["training"]["max_cost_usd"]) == (2, 9)


def test_a_run_json_without_data_says_so(tmp_path: Path) -> None:
    code, output = finetune("plan", run_file(tmp_path, {"accept_eula": True}, "run.json"))
    assert code == 0
    assert "Planned without data" in output
    assert output.startswith("At least 15 min and 1.77 USD on ml.g5.12xlarge")


def test_a_plan_opens_with_time_cost_and_what_the_endpoint_costs(tmp_path: Path) -> None:
    asked = {"accept_eula": True, "training": {"fallback_instance_types": ["ml.p3dn.24xlarge"]}}
    run_file(tmp_path, asked, "run.json")
    any_file(tmp_path, any_chat_rows(30))
    said = " ".join(finetune("plan", tmp_path)[1].split())
    assert said.startswith(
        "About 15 min and 1.78 USD on ml.g5.12xlarge, at worst 8.98; the comparison about 10 min and 0.35 USD, "
        "at worst 6.60; then 2.03 USD an hour until 8 h have passed, or 60 minutes without requests."
    )
    assert "ml.g5.4xlarge comparison 2.03 10 min 0.35" in said
    assert "The base model is asked as well, because that costs at most a tenth of the training or 2 USD" in said
    assert "because you are not signed in to AWS" in said
    assert "Data: chat, 25 rows to train on, 5 held out." in said


def test_the_plan_of_an_imported_model_opens_with_its_price_by_use(tmp_path: Path) -> None:
    run_file(tmp_path, {"accept_eula": True, "endpoint": {"target": "bedrock", "ttl_hours": "never"}}, "run.json")
    any_file(tmp_path, any_chat_rows(30))
    code, output = finetune("plan", tmp_path)
    said = " ".join(output.split())
    assert code == 0
    assert said.startswith(
        "About 15 min and 1.78 USD on ml.g5.12xlarge, at worst 8.98; the comparison about 10 min and 1.49 USD, "
        "at worst 7.74; then 0.57 USD for each 5 minutes of use, 3.90 USD a month stored, until you delete the model."
    )
    assert "Bedrock, 2 units³ import 6.86" in said
    assert "ml.g5.4xlarge endpoint" not in said
    assert "A copy in use all month costs 5,012.87 USD" in said
    assert (
        "An endpoint that always serves would cost 1,481.90 USD a month on ml.g5.4xlarge: below 7.1 hours of use a day "
        "the imported model costs less." in said
    )
    assert (
        "Not seen in an account yet: Bedrock's prices (third-party: texts that quote AWS's pricing page in July 2026, "
        "for us-east-1), its regions and limits (third-party), the 2 units of this model (assumed)." in said
    )


def test_the_plan_of_an_endpoint_says_what_an_import_would_cost(tmp_path: Path) -> None:
    said = " ".join(finetune("plan", run_file(tmp_path, {"accept_eula": True}))[1].split())
    assert (
        "Imported into Bedrock (endpoint.target, docs/pay-per-use.md) the model would cost 0.57 USD for each 5 minutes "
        "of use, 3.90 USD a month stored, by third-party prices: below 7.1 hours of use a day the imported model costs "
        "less."
    ) in said
    large = finetune("plan", run_file(tmp_path, {"accept_eula": True, "model": LLAMA + "405b-fp8"}))[1]
    assert "Imported into Bedrock" not in large


@pytest.mark.parametrize(("hours", "target", "row"), [(1, "bedrock", "import 6.86"), (9, "sagemaker", "endpoint 2.03")])
def test_a_plan_says_what_auto_chose_and_why(tmp_path: Path, hours: int, target: str, row: str) -> None:
    asked = {"accept_eula": True, "endpoint": {"target": "auto", "expected_hours_per_day": hours}}
    path = run_file(tmp_path, asked)
    said = " ".join(finetune("plan", path)[1].split())
    assert row in said
    assert f"endpoint.target auto chose {target}: with {hours} hour{'' if hours == 1 else 's'} of use a day" in said
    assert planned(path)["plan"]["endpoint"]["target"] == target


def test_the_target_is_chosen_by_an_option(tmp_path: Path) -> None:
    path = run_file(tmp_path, {"accept_eula": True, "endpoint": {"name": "faq", "target": "sagemaker"}})
    endpoint = planned(path, "--target", "auto", "--hours-a-day", "0")["plan"]["endpoint"]
    assert (endpoint["target"], endpoint["expected_hours_per_day"], endpoint["name"]) == ("bedrock", 0, "faq")
    assert planned(path, "--target", "bedrock")["plan"]["endpoint"]["target"] == "bedrock"
    assert planned(path)["plan"]["endpoint"]["target"] == "sagemaker"


def test_the_list_of_models_has_the_price_of_an_import() -> None:
    rows = {row["model"]: row["bedrock"] for row in json.loads(finetune("models", "--json")[1])}
    assert rows[LLAMA + "8b"] == {
        "units": 2,
        "usd_per_window": 0.5718,
        "window_minutes": 5,
        "usd_per_hour": 6.8616,
        "usd_per_month_stored": 3.9,
    }
    assert [model for model, imported in rows.items() if imported is None] == [
        LLAMA + "405b-instruct-fp8",
        LLAMA + "405b-fp8",
    ]
    said = finetune("models")[1]
    assert (said.count("Bedrock 27.45"), said.count("not for Bedrock")) == (4, 2)


def test_an_import_has_its_request_in_place_of_an_endpoints(tmp_path: Path) -> None:
    requests = planned(run_file(tmp_path, {"accept_eula": True, "endpoint": {"target": "bedrock"}}))["requests"]
    made = [name for name, request in requests.items() if request]
    assert made == ["create_training_job", "create_model_import_job"]
    request = requests["create_model_import_job"]
    assert request["importedModelName"] == requests["create_training_job"]["TrainingJobName"]
    assert request["modelDataSource"]["s3DataSource"]["s3Uri"].endswith("/output/model")


def test_a_plan_without_a_comparison_says_why(tmp_path: Path) -> None:
    run_file(tmp_path, {"accept_eula": True, "model": BASE_70B}, "run.json")
    any_file(tmp_path, any_chat_rows(30))
    said = " ".join(finetune("plan", tmp_path)[1].split())
    assert "comparison" not in said.partition("Planned ")[0]
    assert (
        "The base model is not asked: it would cost about 18.98 USD, more than 2 USD and more than a tenth of the "
        "training (16.03 USD)." in said
    )
    assert 'To ask it anyway, set "evaluation": {"compare_with_base": true} in run.json.' in said


@pytest.mark.parametrize(
    ("judge", "cost", "price"),
    [
        ("amazon.nova-pro-v1:0", "0.86 USD", "0.8 USD per million tokens read, 3.2 written"),
        ("example.unknown-v1:0", "an unknown cost", "unknown price"),
    ],
)
def test_a_plan_has_the_cost_of_a_judge_or_says_that_it_is_unknown(
    tmp_path: Path, judge: str, cost: str, price: str
) -> None:
    asked = run_file(tmp_path, {"accept_eula": True, "task": "chat", "evaluation": {"judge": judge}})
    output = " ".join(finetune("plan", asked)[1].split())
    assert f"the comparison about 12 min and {cost}" in output
    assert f"200 questions to the judge {judge}" in output
    assert price in output


def test_a_plan_has_each_figure_and_its_source_once(tmp_path: Path) -> None:
    run_file(tmp_path, {"accept_eula": True, "hyperparameters": {"lora_r": 16}}, "run.json")
    any_file(tmp_path, any_chat_rows(30))
    said = " ".join(finetune("plan", tmp_path)[1].split())
    assert said.count("table of 2026-09-01 for us-west-2") == 1
    assert said.count("tokens an epoch") == 1
    assert "lora_r 16 run.json 8" in said
    assert "chat_dataset True task False" in said
    assert "learning_rate 0.0001 model" in said
    assert "lora_dropout 0.05" in said.partition("The others keep the model's defaults:")[2]


def test_a_signed_in_user_gets_a_plan_for_the_deployed_stage(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = run_file(tmp_path, {"accept_eula": True, "training": {"max_runtime_hours": 30}})
    credentials = {"AWS_ACCESS_KEY_ID": "testing"}
    _, output = finetune("plan", path, **credentials)
    assert "Planned for the stage dev in us-east-1." in output
    assert "30 hours exceed the limit of the stage dev, 24 hours." in " ".join(output.split())
    with pytest.raises(AssertionError, match="DEPLOYMENT_NOT_FOUND"):
        finetune("plan", path, "--stage", "prod", **credentials)
    assert finetune("plan", path)[0] == 0  # signed out, so without the stage


@pytest.mark.parametrize(
    "asked", [{"model": LLAMA + "8b-instrukt"}, {"model": LLAMA + "8b-instruct", "model_version": "99.0.0"}]
)
def test_the_table_says_if_another_model_or_version_is_assumed(tmp_path: Path, asked: dict[str, str]) -> None:
    output = " ".join(finetune("plan", run_file(tmp_path, {"accept_eula": True, **asked}))[1].split())
    assert f"the other checks assume {LLAMA}8b-instruct" in output
    assert ("Did you mean" in output) or ("Remove model_version (newest here: " in output)


def test_uris_are_not_truncated_in_a_narrow_terminal(tmp_path: Path) -> None:
    settings = run_file(tmp_path, {"task": "chat"})
    _, shown = finetune("plan", settings, COLUMNS="60")
    assert "…" not in shown
    assert "llama3_1Eula.txt" in "".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 60


def test_no_column_s_name_is_broken_in_a_narrow_terminal(tmp_path: Path) -> None:
    settings = run_file(tmp_path, {"task": "chat", "accept_eula": True, "hyperparameters": {"epoch": 2}})
    _, shown = finetune("plan", settings, COLUMNS="60")
    (heads,) = [line.split() for line in shown.splitlines() if line.split()[:1] == ["hyperparameter"]]
    assert heads == ["hyperparameter", "value", "from", "default"]
    assert max(map(len, shown.splitlines())) <= 60


def test_a_budget_below_the_start_up_cost_is_refused_without_data(tmp_path: Path) -> None:
    asked = {"model": LLAMA + "405b-fp8", "accept_eula": True, "task": "chat", "training": {"max_cost_usd": 1}}
    findings = planned(run_file(tmp_path, asked))["findings"]
    assert [finding["code"] for finding in findings] == ["OVER_BUDGET"]
    assert "at least 253.20 USD" in findings[0]["message"]


def test_without_json_a_table_and_a_verdict_are_printed(tmp_path: Path) -> None:
    code, output = finetune("plan", run_file(tmp_path, {"accept_eula": True, "task": "chat"}))
    assert code == 0
    assert "✓ Passed: licence, task" in output
    code, output = finetune("plan", run_file(tmp_path, {}))
    assert code == 1
    assert output.startswith("This run would be refused: 1 problem. Nothing was started.")
    assert '"accept_eula": true' in " ".join(output.split())


def test_every_model_is_listed_with_tasks_instance_types_prices_and_source() -> None:
    rows = {row["model"]: row for row in json.loads(finetune("models", "--json")[1])}
    assert list(rows) == list(CATALOGUE)
    assert rows[LLAMA + "405b-fp8"]["planned_tasks"] == ["instruction"]
    assert rows[LLAMA + "8b"]["family"] == "Llama 3.1"
    assert next(iter(rows[LLAMA + "8b"]["training_instance_types"])) == "ml.g5.12xlarge"
    assert all(usd for row in rows.values() for usd in row["training_instance_types"].values())
    assert rows[LLAMA + "8b"]["provenance"] == "assumed"
    learning_rate = rows[LLAMA + "8b"]["hyperparameters"]["learning_rate"]
    assert learning_rate.keys() >= {"type", "default", "min"}  # the runbook refers to these for refused values
    assert "planned" in finetune("models")[1]


class AssumedPrices:
    """moto has no Price List API."""

    def price(self, instance_type: str, use: Any) -> Price | None:
        return fallback_price(instance_type, use)


class SilentQuotas:
    """Nor ListServiceQuotas."""

    def check(self, *asked: Any) -> str:
        return "did not answer"


def test_verify_aws_reports_which_facts_an_account_confirms(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    advisory_client.cache_clear()
    monkeypatch.setattr(verification, "price_list", lambda region: AssumedPrices())
    monkeypatch.setattr(verification, "account_quotas", lambda region: SilentQuotas())
    not_deployed = StageResources({}, {"account": "123456789012", "region": REGION, "prefix": "finetune-dev"})
    monkeypatch.setattr(StageResources, "find", lambda *_: not_deployed)
    monkeypatch.setattr(account, "check_zones", lambda stage: iter([Check(check="lambda", ok=True, message="offered")]))
    monkeypatch.setattr(account, "check_instance_zones", lambda stage, types: iter(()))
    s3 = boto3.client("s3", region_name=REGION)
    for bucket in (cache_bucket(REGION), private_bucket(REGION)):
        s3.create_bucket(Bucket=bucket)
    live = document(BASE_70B) | {"default_training_instance_type": "ml.p4d.24xlarge"}
    key = f"community_models/{BASE_70B}/specs_v2.16.2.json"
    manifest = [{"model_id": BASE_70B, "version": "2.16.2", "min_version": "1", "spec_key": key}]
    s3.put_object(Bucket=cache_bucket(REGION), Key="models_manifest.json", Body=json.dumps(manifest))
    s3.put_object(Bucket=cache_bucket(REGION), Key=key, Body=json.dumps(live))
    s3.put_object(Bucket=cache_bucket(REGION), Key=any_spec().code_key, Body=b"script")
    code, output = finetune("verify-aws", "--json", AWS_ACCESS_KEY_ID="testing")
    checks = json.loads(output)
    assert code == 1
    by_model = {check["check"]: check for check in checks}
    assert "default training instance is ml.p4d.24xlarge, not ml.g5.48xlarge" in by_model[BASE_70B]["message"]
    assert by_model[LLAMA + "8b"]["code"] == "MODEL_UNKNOWN"
    verdicts = {check["check"]: check["ok"] for check in checks}
    assert verdicts["training script"] is True
    assert verdicts["weights for ml.p4d.24xlarge"] is False
    unchecked = {check["assumption"] for check in checks if check["message"].startswith("the stage is not deployed")}
    assert unchecked == {"layer-size", "permissions", "policies"}
    assert {check["assumption"] for check in checks} == {
        each.id for each in open_assumptions() if each.settled_by == "verify-aws"
    }


@pytest.mark.parametrize("words", [["verify-aws"], ["models", "--live"]])
def test_a_live_command_reports_missing_credentials_once(
    aws: None, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    advisory_client.cache_clear()

    def refuse() -> None:
        raise NoCredentialsError()

    monkeypatch.setattr(advisory_client("sts", REGION), "get_caller_identity", refuse)
    result = CliRunner().invoke(app, words, env={"AWS_REGION": REGION})
    assert isinstance(result.exception, FineTuningError)
    assert result.exception.code == Code.AWS_NOT_CONFIGURED
    assert result.output == ""
    advisory_client.cache_clear()
