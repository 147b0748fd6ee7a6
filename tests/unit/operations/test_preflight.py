"""The preflight's parts; as a whole it is tested with PlanRun."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from finetuning.aws.service_quotas import Quotas
from finetuning.bedrock import models
from finetuning.bedrock.facts import import_facts
from finetuning.datasets.detection import HEAD_BYTES
from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.spec import spec_key
from finetuning.operations import account_checks, preflight
from finetuning.operations.preflight import check_deployment, price_list
from finetuning.planning.checklist import Checklist
from finetuning.runs.aliases import Alias
from finetuning.runs.layout import alias_key, measurement
from finetuning.runs.plan import DataFile, Measurement
from finetuning.runs.run_json import RunRequest
from finetuning.runs.uploads import Upload
from finetuning.settings import settings
from tests.builders.aws import FakeAws
from tests.builders.jumpstart import FACTS, LLAMA, WITH_IMPORTS, service_model
from tests.builders.memory import PREFIX, MemoryStore
from tests.builders.runs import RUN_ID, START, any_plan
from tests.builders.stage import DatedPrices, SilentQuotas

ACCOUNT_QUOTAS = preflight.account_quotas
MODEL = LLAMA + "8b-instruct"


@pytest.fixture(autouse=True)
def account(cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """An account in which everything a plan needs is there."""
    cloud["kms"].answers["describe_key"] = {"KeyMetadata": {"KeyState": "Enabled"}}
    cloud["iam"].answers["get_role"] = {"Role": {"AssumeRolePolicyDocument": "sagemaker.amazonaws.com"}}
    monkeypatch.setattr(preflight, "account_quotas", lambda region: SilentQuotas())
    return cloud


def by_check(checklist: Checklist) -> dict[str, list[bool | None]]:
    lines: dict[str, list[bool | None]] = {}
    for check in checklist.checks:
        lines.setdefault(check.check, []).append(check.ok)
    return lines


def test_a_deployment_needs_a_model_an_endpoint_quota_names_key_and_role() -> None:
    assert by_check(check_deployment(any_plan(), has_model=True)) == {
        "model": [True],
        "quota": [None],
        "names": [True, True],
        "key": [True],
        "role": [True],
        "requests": [True],
    }


def test_without_the_model_nothing_is_deployed_and_the_requests_are_not_judged() -> None:
    checklist = check_deployment(any_plan(), has_model=False)
    assert [finding.code for finding in checklist.findings] == [Code.RUN_HAS_NO_MODEL]
    assert "requests" not in by_check(checklist)


def test_a_request_that_sagemaker_would_refuse_is_found() -> None:
    tags = {"x" * 200: "a key longer than SageMaker allows"}
    checklist = check_deployment(any_plan(tags=tags), has_model=True)
    assert {finding.code for finding in checklist.findings} == {Code.REQUEST_INVALID}


@pytest.mark.parametrize(
    ("region", "asked"), [("eu-central-1", "eu-central-1"), ("eu-west-1", "us-east-1"), ("us-east-1", "us-east-1")]
)
def test_prices_are_asked_for_where_the_price_list_is_offered(
    monkeypatch: pytest.MonkeyPatch, region: str, asked: str
) -> None:
    regions: list[str] = []
    monkeypatch.setattr(preflight, "advisory_client", lambda service, where: regions.append(where))
    price_list(region)
    assert regions == [asked]


def test_quotas_are_asked_for_in_the_stages_region(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(preflight, "advisory_client", lambda *named: asked.append(named))
    ACCOUNT_QUOTAS("eu-west-1")
    assert asked == [("service-quotas", "eu-west-1"), ("sagemaker", "eu-west-1")]


def test_files_are_counted_and_their_heads_detected() -> None:
    class AnyUpload:
        def data_files(self) -> tuple[DataFile, ...]:
            return (DataFile(key="runs/faq/a.csv", version_id="1", size=20, etag="e"),)

        def head(self, file: DataFile, size: int) -> bytes:
            return b"question,answer\n1,2\n"

        def template_json(self) -> bytes | None:
            return b"{}"

    files: Any = AnyUpload()
    checklist = Checklist()
    upload = Upload("uploads", "runs/faq/run.json", "1")
    submission = preflight.read_submission(files, upload, RunRequest(), checklist)
    assert submission.template_file == b"{}"
    assert submission.columns == {"question", "answer"}
    assert by_check(checklist) == {"data": [True]}


def test_every_file_that_cannot_be_read_is_a_finding() -> None:
    class Archived:
        def data_files(self) -> tuple[DataFile, ...]:
            return tuple(DataFile(key=f"runs/faq/{n}.csv", version_id="1", size=20, etag="e") for n in "abc")

        def head(self, file: DataFile, size: int) -> bytes:
            if file.name == "b.csv":
                return b"question,answer\n1,2\n"
            raise FineTuningError(Code.DATASET_REFUSED, f"{file.name} cannot be read.", "Restore it.")

        def template_json(self) -> bytes | None:
            return None

    files: Any = Archived()
    checklist = Checklist()
    submission = preflight.read_submission(files, UPLOAD, RunRequest(), checklist)
    assert [(finding.code, finding.message) for finding in checklist.findings] == [
        (Code.DATASET_REFUSED, "a.csv cannot be read."),
        (Code.DATASET_REFUSED, "c.csv cannot be read."),
    ]
    assert by_check(checklist) == {"data": [True, False, False]}
    assert [file.detection is None for file in submission.files] == [True, False, True]


@pytest.mark.parametrize("where", ["run.json", "template.json"])
def test_a_row_of_columns_that_the_user_names_is_a_header(where: str) -> None:
    class Greetings(NoUpload):
        def data_files(self) -> tuple[DataFile, ...]:
            return (DataFile(key="runs/faq/a.csv", version_id="1", size=30, etag="e"),)

        def head(self, file: DataFile, size: int) -> bytes:
            return b"Gruss,Echo\nMoin,Ahoi\nServus,Hallo\n"

        def template_json(self) -> bytes | None:
            return b'{"prompt": "{Gruss}", "completion": "{Echo}"}' if where == "template.json" else None

    files: Any = Greetings()
    chosen = {"data": {"columns": {"prompt": "Gruss", "completion": "Echo"}}} if where == "run.json" else {}
    submission = preflight.read_submission(files, UPLOAD, RunRequest.model_validate(chosen), Checklist())
    assert submission.columns == {"Gruss", "Echo"}


class NoUpload:
    """An upload of a run.json alone."""

    def data_files(self) -> tuple[DataFile, ...]:
        return ()

    def template_json(self) -> bytes | None:
        return None


def test_a_run_json_without_data_is_one_finding_that_says_what_to_upload() -> None:
    files: Any = NoUpload()
    checklist, upload, request = Checklist(), Upload("uploads", "runs/faq/run.json", "1"), RunRequest(model="m")
    submission = preflight.read_submission(files, upload, request, checklist)
    (check,) = checklist.checks
    assert (check.check, check.code, check.field) == ("data", Code.UPLOAD_WITHOUT_DATA, "")
    assert "s3://uploads/runs/faq/run.json" in check.message
    assert "run.json" in check.fix
    assert (submission.upload, submission.request, submission.files) == (upload, request, ())
    assert submission.planned_at.utcoffset() == timedelta(0)


def test_the_head_of_each_file_is_read_once_and_no_more_of_it() -> None:
    asked: list[tuple[str, int]] = []

    class AnyUpload(NoUpload):
        def data_files(self) -> tuple[DataFile, ...]:
            return tuple(DataFile(key=f"runs/faq/{n}.csv", version_id="1", size=20, etag="e") for n in "ab")

        def head(self, file: DataFile, size: int) -> bytes:
            asked.append((file.name, size))
            return b"question,answer\n1,2\n"

    files: Any = AnyUpload()
    preflight.read_submission(files, Upload("uploads", "runs/faq/run.json", "1"), RunRequest(), Checklist())
    assert asked == [("a.csv", HEAD_BYTES), ("b.csv", HEAD_BYTES)]


def test_everything_is_asked_in_the_stages_region(monkeypatch: pytest.MonkeyPatch, cloud: FakeAws) -> None:
    asked: list[tuple[str, str]] = []
    quotas: list[str] = []
    monkeypatch.setattr(preflight, "account_quotas", lambda region: quotas.append(region) or SilentQuotas())
    monkeypatch.setattr(
        preflight, "advisory_client", lambda service, region: asked.append((service, region)) or cloud[service]
    )
    check_deployment(any_plan(), has_model=True)
    assert list(dict.fromkeys(asked)) == [("sagemaker", "us-east-1"), ("kms", "us-east-1"), ("iam", "us-east-1")]
    assert quotas == ["us-east-1"]


@pytest.mark.parametrize(("replacement", "found"), [("anyone", []), ("owner", [Code.ENDPOINT_NOT_OWNED])])
def test_the_stage_decides_who_may_replace_the_endpoint_of_another_upload(
    monkeypatch: pytest.MonkeyPatch, cloud: FakeAws, replacement: str, found: list[Code]
) -> None:
    monkeypatch.setenv("ENDPOINT_REPLACEMENT", replacement)
    settings.cache_clear()
    cloud.sagemaker.add_endpoint(run_id="faq-00000000", tags={"finetune:owners": "faq"})
    checklist = check_deployment(any_plan(), has_model=True)
    assert [finding.code for finding in checklist.findings] == found


def test_a_deployment_needs_no_quota_for_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    standing: list[dict[str, Any]] = []

    class Kept(SilentQuotas):
        def check(self, *asked: Any, **beside: Any) -> str:
            standing.append(beside)
            return "no answer"

    monkeypatch.setattr(preflight, "account_quotas", lambda region: Kept())
    plan = any_plan()
    assert plan.evaluation.compare_with_base
    check_deployment(plan, has_model=True)
    assert standing == [{"then": 1, "replaced": f"{PREFIX}-{RUN_ID}"}]


def test_a_model_that_cannot_be_hosted_on_the_type_is_found_before_its_deployment() -> None:
    plan = any_plan(endpoint=any_plan().endpoint.model_dump() | {"instance_type": "ml.t2.medium"})
    checklist = check_deployment(plan, has_model=True)
    assert by_check(checklist)["endpoint instance"] == [False]
    assert [(finding.code, finding.field) for finding in checklist.findings] == [
        (Code.INSTANCE_TYPE_UNSUPPORTED, "endpoint.instance_type")
    ]


def test_a_deployment_has_the_version_of_the_model_that_was_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []
    bucket = preflight.jumpstart_bucket()
    kept = bucket.spec
    monkeypatch.setattr(bucket, "spec", lambda *named: asked.append(named) or kept(*named))
    monkeypatch.setattr(preflight, "jumpstart_bucket", lambda: bucket)
    check_deployment(any_plan(), has_model=True)
    assert asked == [(any_plan().model_id, any_plan().model_version)]


def test_a_run_without_a_model_is_named_with_no_field_of_run_json() -> None:
    (finding,) = check_deployment(any_plan(), has_model=False).findings
    assert finding.field == ""
    assert any_plan().run_id in finding.message
    assert by_check(check_deployment(any_plan(), has_model=False))["model"] == [False]


def test_clients_and_region_reach_quotas_and_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[Any, ...]] = []
    monkeypatch.setattr(preflight, "advisory_client", lambda service, region: (service, region))
    monkeypatch.setattr(preflight, "Quotas", lambda *given: built.append(given))
    monkeypatch.setattr(preflight, "PriceList", lambda *given: built.append(given))
    ACCOUNT_QUOTAS("eu-west-1")
    price_list("eu-west-1")
    assert built == [
        (("service-quotas", "eu-west-1"), ("sagemaker", "eu-west-1"), "eu-west-1"),
        (("pricing", "us-east-1"), "eu-west-1"),
    ]


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch, account: FakeAws) -> Upload:
    """An upload of a CSV file and a run.json, and JumpStart's buckets with all that its models need."""

    class AnyUpload(NoUpload):
        def data_files(self) -> tuple[DataFile, ...]:
            return (DataFile(key="runs/faq/a.csv", version_id="1", size=20, etag="e"),)

        def head(self, file: DataFile, size: int) -> bytes:
            return b"question,answer\n1,2\n"

    bucket = preflight.jumpstart_bucket()
    monkeypatch.setattr(bucket, "has", lambda name, key: True)
    monkeypatch.setattr(preflight, "jumpstart_bucket", lambda: bucket)
    monkeypatch.setattr(preflight, "upload_bucket", lambda upload: AnyUpload() if upload == UPLOAD else None)
    monkeypatch.setattr(preflight, "price_list", lambda region: DatedPrices() if region == "us-east-1" else None)
    return UPLOAD


UPLOAD = Upload("uploads", "runs/faq/run.json", "1")


def test_a_good_upload_has_a_plan_with_every_check_it_passed(uploaded: Upload) -> None:
    plan, checklist = preflight.preflight(uploaded, b'{"accept_eula": true, "task": "instruction"}')
    assert plan is not None
    assert checklist.findings == []
    assert plan.checks == checklist.checks
    assert (plan.run_id, plan.task, plan.accept_eula) == (uploaded.run_id, "instruction", True)
    assert plan.model_id == MODEL
    assert plan.training.options[0].price is not None
    assert [file.name for file in plan.data_files] == ["a.csv"]
    expected = {"data", "model", "licence", "artefacts", "quota", "names", "key", "role", "requests"}
    assert expected <= {check.check for check in checklist.checks}


def test_what_an_earlier_training_took_is_the_estimate(uploaded: Upload, cloud: FakeAws) -> None:
    before, _ = preflight.preflight(uploaded, b'{"accept_eula": true}')
    assert before is not None
    first = before.training.options[0].instance_type
    measured = Measurement(tokens_per_second=10, start_seconds=9000, run_id=RUN_ID, measured_at=START)
    cloud.files[measurement(before.model_id, first)] = measured.model_dump_json().encode()
    plan, _ = preflight.preflight(uploaded, b'{"accept_eula": true}')
    assert plan is not None
    assert [
        option.instance_type
        for option in plan.training.options
        if f"measured by {RUN_ID} on 2026-03-04" in " ".join(option.estimate.assumptions)
    ] == [first]
    assert (plan.training.options[0].estimate.seconds or 0) > 9000


def test_a_training_plan_is_looked_up_in_the_stages_region(
    uploaded: Upload, cloud: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = "arn:aws:sagemaker:us-east-1:111122223333:training-plan/finetune-dev-g5"
    instance_type = "ml.g5.12xlarge"
    ends = datetime.now(UTC) + timedelta(hours=10, minutes=2)
    cloud.sagemaker.answers["describe_training_plan"] = {
        "Status": "Active",
        "ReservedCapacitySummaries": [{"InstanceType": instance_type, "EndTime": ends}],
    }
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        preflight, "advisory_client", lambda service, region: asked.append((service, region)) or cloud[service]
    )
    training = {"instance_type": instance_type, "training_plan_arn": arn}
    _, checklist = preflight.preflight(uploaded, orjson.dumps({"accept_eula": True, "training": training}))
    (line,) = [check for check in checklist.checks if check.check == "training plan"]
    assert (line.ok, line.message) == (True, f"finetune-dev-g5: {instance_type}, 10.0 hours left")
    assert list(dict.fromkeys(asked)) == [(service, "us-east-1") for service in ("sagemaker", "kms", "iam")]


MANIFEST = "models_manifest.json"


@pytest.mark.parametrize(("pinned", "reported"), [("", True), ('"model_version": "2.6.0", ', False)])
def test_a_newer_version_of_the_model_is_reported_unless_one_is_chosen(
    uploaded: Upload, cloud: FakeAws, pinned: str, reported: bool
) -> None:
    entry = {"model_id": MODEL, "version": "2.7.0", "spec_key": spec_key(MODEL, "2.7.0")}
    cloud.files[MANIFEST] = orjson.dumps([*orjson.loads((FACTS / MANIFEST).read_bytes()), entry])
    plan, checklist = preflight.preflight(uploaded, f'{{{pinned}"accept_eula": true}}'.encode())
    assert plan is not None
    assert plan.model_version == "2.6.0"
    assert [(check.check, check.message) for check in checklist.checks if "newest version" in check.message] == (
        [
            (
                "model",
                f"JumpStart's newest version of {MODEL} is 2.7.0; this project was checked against 2.6.0, which is "
                'used. To use the other: "model_version": "2.7.0"',
            )
        ]
        if reported
        else []
    )


def test_the_version_that_is_used_is_not_reported_and_an_unreadable_manifest_is_no_finding(
    uploaded: Upload, cloud: FakeAws
) -> None:
    _, checklist = preflight.preflight(uploaded, b'{"accept_eula": true}')
    assert None not in by_check(checklist)["model"]
    cloud.files[MANIFEST] = b"not JSON"
    _, checklist = preflight.preflight(uploaded, b'{"accept_eula": true}')
    (line,) = [check for check in checklist.checks if check.check == "model" and check.ok is None]
    assert line.message.startswith("whether there is a newer version: ")
    assert "manifest" in line.message
    assert checklist.findings == []


def test_what_is_wrong_with_run_json_stands_beside_the_other_findings(uploaded: Upload) -> None:
    plan, checklist = preflight.preflight(uploaded, b'{"colour": "red"}')
    assert plan is not None
    assert [(finding.code, finding.field) for finding in checklist.findings] == [
        (Code.RUN_JSON_INVALID, "colour"),
        (Code.EULA_NOT_ACCEPTED, "accept_eula"),
    ]
    assert checklist.checks[0].check == "run.json"
    assert "requests" not in by_check(checklist)


def test_without_a_specification_there_is_no_plan(uploaded: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_spec(*asked: Any) -> Any:
        raise FineTuningError(Code.MODEL_SPEC_UNUSABLE, "unreadable", "Try again.", field="model")

    monkeypatch.setattr(preflight.jumpstart_bucket(), "spec", no_spec)
    plan, checklist = preflight.preflight(uploaded, b'{"accept_eula": true}')
    assert plan is None
    assert [finding.code for finding in checklist.findings] == [Code.MODEL_SPEC_UNUSABLE]


def test_a_default_fallback_that_the_account_rules_out_is_not_in_the_plan(
    uploaded: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneQuota(SilentQuotas):
        def check(self, instance_type: str, use: Any, wanted: int, field: str, **_: Any) -> Any:  # type: ignore[override]
            fallback = field == "training.fallback_instance_types"
            return Finding(Code.QUOTA_EXCEEDED, field, "quota 0", "Ask.") if fallback else None

    regions: list[str] = []
    monkeypatch.setattr(preflight, "account_quotas", lambda region: regions.append(region) or OneQuota())
    plan, checklist = preflight.preflight(uploaded, b'{"accept_eula": true}')
    assert plan is not None
    assert checklist.findings == []
    assert regions == ["us-east-1"]
    assert len(plan.training.options) == 1


def test_files_are_counted_in_the_singular_and_plural(account: FakeAws) -> None:
    class Files(NoUpload):
        def __init__(self, number: int) -> None:
            self._number = number

        def data_files(self) -> tuple[DataFile, ...]:
            return tuple(
                DataFile(key=f"runs/faq/{n}", version_id="1", size=1000, etag="e") for n in range(self._number)
            )

        def head(self, file: DataFile, size: int) -> bytes:
            return b"a\n"

    found = []
    for number in (1, 2):
        files: Any = Files(number)
        checklist = Checklist()
        preflight.read_submission(files, UPLOAD, RunRequest(), checklist)
        found.append(checklist.checks[0].message)
    assert found == ["1 file, 1,000 bytes", "2 files, 2,000 bytes"]


@pytest.mark.parametrize(("concurrency", "width"), [(1, 1), (14, 2), (25, 5), (1000, 10)])
def test_a_run_prepares_as_many_shards_at_a_time_as_leave_room_for_four_others(
    monkeypatch: pytest.MonkeyPatch, concurrency: int, width: int
) -> None:
    monkeypatch.setattr(SilentQuotas, "lambda_concurrency", lambda self: concurrency)
    regions: list[str] = []
    monkeypatch.setattr(preflight, "account_quotas", lambda region: regions.append(region) or SilentQuotas())
    assert (preflight.shards_at_once("eu-west-1"), regions) == (width, ["eu-west-1"])


@pytest.fixture
def importing(uploaded: Upload, cloud: FakeAws, monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """A stage that may import models, and an account with two of three imported models."""
    monkeypatch.setattr(preflight, "target", lambda: WITH_IMPORTS)
    allowed = preflight.settings().model_copy(update={"bedrock_import": True, "training_instance_types": ("ml.*",)})
    monkeypatch.setattr(preflight, "settings", lambda: allowed)
    quotas = Quotas(cloud["service-quotas"], cloud.sagemaker, "us-east-1")
    monkeypatch.setattr(preflight, "account_quotas", lambda region: quotas)
    cloud["bedrock"].meta = SimpleNamespace(service_model=service_model("bedrock"))
    quota = {"QuotaCode": "L-45B04988", "QuotaName": "Imported models per account", "Value": 3.0}
    cloud["service-quotas"].answers["list_service_quotas"] = {"Quotas": [quota]}
    imported_models(cloud, 2)
    return cloud


def imported_models(cloud: FakeAws, number: int) -> None:
    models = [{"modelName": f"model-{n}", "modelArn": f"arn:{n}"} for n in range(number)]
    cloud["bedrock"].answers |= {
        "list_imported_models": {"modelSummaries": models},
        "list_model_import_jobs": {"modelImportJobSummaries": []},
        "list_tags_for_resource": {"tags": []},
    }


def import_preflight(model: str = MODEL, **endpoint: Any) -> Checklist:
    asked = {"accept_eula": True, "task": "chat", "model": model, "endpoint": {"target": "bedrock"} | endpoint}
    return preflight.preflight(UPLOAD, orjson.dumps(asked))[1]


def facts_with(monkeypatch: pytest.MonkeyPatch, fact: str, value: Any) -> None:
    """Plants another value of one of the facts on what Bedrock imports."""
    known = import_facts()
    changed = getattr(known, fact).model_copy(update={"value": value})
    monkeypatch.setattr(models, "import_facts", lambda: known.model_copy(update={fact: changed}))


def test_an_import_that_can_be_made_passes_with_its_quota_and_its_request(importing: FakeAws) -> None:
    checklist = import_preflight()
    assert checklist.findings == []
    said = [(check.check, check.message) for check in checklist.checks if check.ok]
    assert ("quota", "imported models: sufficient") in said
    assert "2 requests valid" in [message for _, message in said]
    assert importing["bedrock"].requests("create_model_import_job") == []


@pytest.mark.parametrize(
    ("fact", "value", "code", "message"),
    [
        ("regions", ("us-west-2",), "REGION_UNSUPPORTED", "Bedrock does not import models in us-east-1, only in us-w"),
        (
            "architectures",
            ("MistralForCausalLM",),
            "MODEL_NOT_IMPORTABLE",
            "its architecture LlamaForCausalLM is not one",
        ),
        ("dtypes", ("fp16", "fp32"), "MODEL_NOT_IMPORTABLE", "its weights are bf16, not fp16 or fp32."),
        ("max_gigabytes", 16, "MODEL_NOT_IMPORTABLE", "the tuned model has about 16 GB; the limit is 16 GB."),
        ("max_context", 8192, "MODEL_NOT_IMPORTABLE", "its context has 131,072 tokens; the limit is 8,192."),
    ],
)
def test_what_bedrock_does_not_import_is_refused_before_anything_is_paid(
    importing: FakeAws, monkeypatch: pytest.MonkeyPatch, fact: str, value: Any, code: str, message: str
) -> None:
    facts_with(monkeypatch, fact, value)
    (found,) = import_preflight().findings
    assert (found.code, found.field) == (code, "endpoint.target")
    assert message in found.message
    assert found.fix.endswith("set endpoint.target to sagemaker.")


def test_a_405b_a_full_quota_and_a_stage_without_access_are_refused_before_anything_is_paid(
    importing: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = import_preflight(LLAMA + "405b-instruct-fp8").findings
    assert [each.code for each in refused] == 2 * ["MODEL_NOT_IMPORTABLE"]
    imported_models(importing, 3)
    (full,) = import_preflight().findings
    assert (full.code, full.field) == ("QUOTA_EXCEEDED", "endpoint.target")
    assert "(L-45B04988) is 3, 3 in use (model-0, model-1, model-2), 1 needed." in full.message
    denying = preflight.settings().model_copy(update={"bedrock_import": False})
    monkeypatch.setattr(preflight, "settings", lambda: denying)
    assert {each.code for each in import_preflight().findings} == {"BEDROCK_NOT_ENABLED", "QUOTA_EXCEEDED"}


def test_models_that_the_stage_keeps_for_a_rollback_leave_room_for_an_import(importing: FakeAws) -> None:
    imported_models(importing, 3)
    kept = {"finetune:created-by": "finetune-dev", "finetune:endpoint": "finetune-dev-faq"}
    tags = [{"key": key, "value": value} for key, value in kept.items()]
    importing["bedrock"].answers["list_tags_for_resource"] = {"tags": tags}
    assert import_preflight().findings == []


def test_an_imported_model_needs_the_quota_of_an_endpoint_only_to_be_compared(importing: FakeAws) -> None:
    asked = {"accept_eula": True, "task": "chat", "endpoint": {"target": "bedrock"}}
    for compared in (False, True):
        body = orjson.dumps(asked | {"evaluation": {"compare_with_base": compared}})
        lines = preflight.preflight(UPLOAD, body)[1].checks
        assert any("for the endpoint" in line.message for line in lines if line.check == "quota") == compared


def test_a_model_that_is_deployed_again_by_an_import_needs_room_for_it(importing: FakeAws) -> None:
    plan, _ = preflight.preflight(UPLOAD, b'{"accept_eula": true, "task": "chat", "endpoint": {"target": "bedrock"}}')
    assert plan
    assert check_deployment(plan, has_model=True).findings == []
    imported_models(importing, 3)
    (full,) = check_deployment(plan, has_model=True).findings
    assert full.code == "QUOTA_EXCEEDED"


def test_an_import_is_not_repeated_once_the_stage_may_not_import_any_more(
    importing: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = preflight.preflight(UPLOAD, b'{"accept_eula": true, "task": "chat", "endpoint": {"target": "bedrock"}}')
    assert plan
    denying = preflight.settings().model_copy(update={"bedrock_import": False})
    monkeypatch.setattr(preflight, "settings", lambda: denying)
    (denied,) = check_deployment(plan, has_model=True).findings
    assert denied.code == "BEDROCK_NOT_ENABLED"
    on_endpoint = plan.model_copy(update={"endpoint": plan.endpoint.model_copy(update={"target": "sagemaker"})})
    assert check_deployment(on_endpoint, has_model=True).findings == []


def test_a_run_on_an_endpoint_asks_nothing_of_bedrock(importing: FakeAws) -> None:
    assert import_preflight(target="sagemaker").findings == []
    assert importing["bedrock"].calls == []


def test_a_name_of_an_imported_model_is_replaced_by_its_owners_only(
    importing: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "finetune-dev-support"
    monkeypatch.setattr(preflight, "run_store", lambda: memory)
    memory.save(alias_key(name), Alias(name=name, owners=["other-team", "faq"]))
    allowed = import_preflight(name="support")
    assert allowed.findings == []
    found = [(check.check, check.message) for check in allowed.checks]
    assert ("names", f"the name {name} belongs to this stage") in found
    memory.save(alias_key(name), Alias(name=name, owners=["other-team"]))
    assert import_preflight(name="support").findings == []
    owned = preflight.settings().model_copy(update={"endpoint_replacement": "owner"})
    monkeypatch.setattr(preflight, "settings", lambda: owned)
    by_others = import_preflight(name="support")
    (not_owned,) = by_others.findings
    assert (not_owned.code, not_owned.field) == ("ENDPOINT_NOT_OWNED", "endpoint.name")
    assert not_owned.message.startswith(f"The endpoint {name} belongs to other-team")
    assert [each.check for each in by_others.checks if each.ok is False] == ["names"]
    (refused,) = import_preflight(name="support", target="sagemaker").findings
    assert (refused.code, refused.field) == ("ENDPOINT_NOT_OWNED", "endpoint.name")
    assert import_preflight(name="another").findings == []
    assert import_preflight(name="support", deploy=False).findings == []
    memory.save(alias_key(name), Alias(name=name, owners=["other-team", "faq"]))
    assert import_preflight(name="support").findings == []


def test_an_endpoint_under_the_name_of_an_import_is_said_to_go_on(importing: FakeAws) -> None:
    importing.sagemaker.things["endpoint"]["finetune-dev-support"] = {"EndpointArn": "arn:e"}
    importing.sagemaker.tags["arn:e"] = {"finetune:created-by": "finetune-dev"}
    checklist = import_preflight(name="support")
    assert checklist.findings == []
    (warning,) = [check for check in checklist.checks if check.check == "names" and check.fix]
    assert any(check.message.startswith("training job ") for check in checklist.checks), "it is looked at after it"
    assert warning.message == (
        "The endpoint finetune-dev-support keeps running and costs money by the hour until it expires: an imported "
        "model does not replace it."
    )
    on_endpoint = import_preflight(target="sagemaker", name="support")
    assert [check for check in on_endpoint.checks if check.check == "names" and check.fix] == []


@pytest.mark.parametrize(
    ("reachable", "status", "refused"),
    [
        (True, "AVAILABLE", []),
        (False, "AVAILABLE", ["the stage's network has no way to Bedrock's runtime."]),
        (True, "NOT_AVAILABLE", ["its terms are not accepted (NOT_AVAILABLE)."]),
    ],
)
def test_a_judge_that_cannot_be_asked_is_refused_before_anything_is_paid(
    uploaded: Upload, cloud: FakeAws, monkeypatch: pytest.MonkeyPatch, reachable: bool, status: str, refused: list[str]
) -> None:
    changes = {"judge_models": ("amazon.nova-pro-v1:0",), "training_instance_types": ("ml.*",)}
    allowed = preflight.settings().model_copy(update=changes)
    monkeypatch.setattr(preflight, "settings", lambda: allowed)
    monkeypatch.setattr(account_checks, "is_reachable", lambda runtime: reachable)
    clients, made = list[tuple[str, str]](), preflight.advisory_client
    monkeypatch.setattr(preflight, "advisory_client", lambda *named: clients.append(named) or made(*named))
    ends = {"status": "ACTIVE", "endOfLifeTime": datetime.now(UTC) + timedelta(days=900)}
    cloud["bedrock"].answers |= {
        "get_foundation_model": {"modelDetails": {"outputModalities": ["TEXT"], "modelLifecycle": ends}},
        "get_foundation_model_availability": {"agreementAvailability": {"status": status}},
    }
    asked = {"accept_eula": True, "task": "chat", "model": MODEL, "evaluation": {"judge": "amazon.nova-pro-v1:0"}}
    plan, checklist = preflight.preflight(UPLOAD, orjson.dumps(asked))
    assert [finding.message for finding in checklist.findings] == [
        f"The judge amazon.nova-pro-v1:0 cannot be asked: {reason}" for reason in refused
    ]
    region = allowed.aws_region
    looked_up = [("bedrock", region), ("bedrock-runtime", region)]
    assert [each for each in clients if "bedrock" in each[0]] == looked_up[: 2 if status == "AVAILABLE" else 1]
    assert cloud["bedrock-runtime"].calls == [], "it is not asked before the run needs it"
    assert plan
    assert plan.evaluation.judge
