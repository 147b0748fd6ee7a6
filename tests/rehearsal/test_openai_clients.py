"""Unmodified clients call the product's models: those of OpenAI, LangChain and LiteLLM an endpoint with its bearer
token, LangChain's and LiteLLM's for AWS and boto3 an imported model.
"""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.credentials import ReadOnlyCredentials

from finetuning.runs.layout import RunLayout
from finetuning_cli.preflight.openai_job import RESULT_FIELDS, OpenAIJob
from finetuning_cli.stage.bearer_token import signed_token
from rehearsal.emulator.identity import ACCOUNT, OPERATOR_KEY, OPERATOR_SECRET
from rehearsal.running import PROJECT, REGION
from tests.rehearsal.support.product import QUICK, Product, any_chats
from tests.rehearsal.support.stacks import allow, any_name, any_role
from tests.rehearsal.support.terminal import Terminal

CLIENTS = PROJECT / ".venv-clients" / "bin" / "python"
PROGRAMS = sorted((PROJECT / "examples" / "clients").glob("with_*.py"))
OF_BEDROCK = ("with_langchain_bedrock.py", "with_litellm_bedrock.py")
CHAT = {"messages": [{"role": "user", "content": "Big kettle"}], "max_tokens": 2, "temperature": 0}
OPERATOR = ReadOnlyCredentials(OPERATOR_KEY, OPERATOR_SECRET, None)

Result = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """What `finetune token` prints of an endpoint."""

    endpoint: str
    base_url: str
    token: str


@pytest.fixture(scope="module")
def deploy(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Served]:
    """Trains and deploys a chat model under that name, and asks for a token."""
    terminal = Terminal(product.emulator, tmp_path_factory.mktemp("desk"))

    def deploy(name: str) -> Served:
        settings = {"endpoint": {"deploy": True, "name": name}, "evaluation": {"prompts": 1}}
        status = product.ended(product.submit(b"".join(any_chats()), **QUICK, **settings))
        assert status["state"] == "succeeded", status["error"]
        said = terminal.finetune("token", name, "--json")
        assert said.code == 0, said.printed
        return Served(said.json["endpoint"], said.json["base_url"], said.json["token"])

    return deploy


@pytest.fixture(scope="module")
def served(deploy: Callable[[str], Served]) -> Served:
    return deploy(any_name("openai"))


@pytest.fixture(autouse=True)
def _clients() -> None:
    if not CLIENTS.exists():
        pytest.skip("the clients' environment is not there: run `make test-rehearsal`")


def results(program: str, *calls: Served) -> list[Result]:
    asked = json.dumps([{"base_url": call.base_url, "token": call.token} for call in calls])
    helper = str(PROJECT / "tests" / "rehearsal" / "support" / "run_program.py")
    command = [str(CLIENTS), helper, str(PROJECT / "examples" / "clients" / program)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    found: list[Result] = json.loads(done.stdout)
    return found


def post(served: Served, token: str = "", path: str = "/chat/completions", **body: Any) -> tuple[int, Any]:
    """Status and body of a plain HTTP call."""
    headers = {"Authorization": f"Bearer {token or served.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(served.base_url + path, json.dumps(CHAT | body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)["error"]


@pytest.mark.parametrize("program", [program.name for program in PROGRAMS if program.name not in OF_BEDROCK])
def test_a_client_chats_and_streams_and_understands_refusals(served: Served, program: str) -> None:
    chat, wrong_token, unknown = results(
        program,
        served,
        Served(served.endpoint, served.base_url, "sagemaker-api-key-" + "A" * 64),
        Served("", served.base_url.replace(served.endpoint, "finetune-dev-nobody"), served.token),
    )
    whole, streamed = (chat["printed"][: len(chat["printed"]) // 2], chat["printed"][len(chat["printed"]) // 2 :])
    assert whole == streamed
    assert len(whole) > 1
    assert (wrong_token["status"], unknown["status"]) == (401, 400)
    assert "The bearer token is not one of SageMaker's." in wrong_token["message"]
    assert "Endpoint finetune-dev-nobody of account 000000000000 not found." in unknown["message"]


STREAM = """
import sys
from openai import OpenAI
client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2])
messages = [{"role": "user", "content": "Big kettle"}]
print([*client.chat.completions.create(model="", messages=messages, stream=True)])
"""


def test_without_json_lines_py_a_stream_is_empty(served: Served) -> None:
    """Why the programs have it. As DJL Serving 0.29 writes a stream, and as OpenAI's client reads one."""
    command = [str(CLIENTS), "-c", STREAM, served.base_url, served.token]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_there_is_a_program_for_each_client() -> None:
    names = ["with_langchain.py", "with_litellm.py", "with_openai.py", *OF_BEDROCK]
    assert [program.name for program in PROGRAMS] == sorted(names)


JOB_FIELDS = """
import json, sys
from openai.types.fine_tuning import FineTuningJob
from openai.types.fine_tuning.job_create_params import JobCreateParams
FineTuningJob.model_validate_json(open(sys.argv[1]).read(), strict=True)
print(json.dumps([*FineTuningJob.model_fields, *JobCreateParams.__annotations__]))
"""


def test_every_field_of_openai_s_job_is_known() -> None:
    """By the client's own models of a job and of the body that creates one. The first also takes the example."""
    command = [str(CLIENTS), "-c", JOB_FIELDS, str(PROJECT / "examples" / "openai" / "job.json")]
    fields = set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert fields == OpenAIJob.model_fields.keys() | RESULT_FIELDS | {"integrations", "metadata"}


def test_a_token_is_refused_unless_it_is_signed_for_this_region_and_still_valid(served: Served) -> None:
    hour = timedelta(hours=1)
    wrong_key = ReadOnlyCredentials(OPERATOR_KEY, "another secret", None)
    unknown = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", OPERATOR_SECRET, None)
    short = signed_token(OPERATOR, REGION, timedelta(seconds=1))
    assert post(served)[0] == 200
    for token, words in (
        ("sk-a-key-of-openai", "no SageMaker bearer token"),
        (signed_token(wrong_key, REGION, hour), "signature we calculated does not match"),
        (signed_token(unknown, REGION, hour), "security token included in the request is invalid"),
        (signed_token(OPERATOR, "eu-west-1", hour), "scoped to us-east-1"),
        (signed_token(OPERATOR, REGION, timedelta(hours=13)), "1 second to 12 hours"),
        (served.token[:-1], "The bearer token is not base64."),
        ("sagemaker-api-key-" + "A" * 64, "not one of SageMaker's"),
    ):
        status, error = post(served, token)
        assert (status, words in error["message"]) == (401, True), error
    time.sleep(1.1)
    status, error = post(served, short)
    assert (status, error["message"]) == (401, "The bearer token has expired or is not yet valid.")


def test_the_caller_needs_both_permissions(product: Product, served: Served) -> None:
    """Those of docs/calling.md: the token alone allows nothing."""
    iam, name = product.emulator.client("iam"), any_name("caller")
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{served.endpoint}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    user = ReadOnlyCredentials(key["AccessKeyId"], key["SecretAccessKey"], None)

    def status(*statements: dict[str, Any]) -> tuple[int, str]:
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="allowed", PolicyDocument=policy)
        code, said = post(served, signed_token(user, REGION, timedelta(hours=1)))
        return code, said.get("message", "")

    by_token, invoke = allow("sagemaker:CallWithBearerToken"), allow("sagemaker:InvokeEndpoint", arn)
    assert status(by_token, invoke) == (200, "")
    assert status(by_token, allow("sagemaker:InvokeEndpoint", arn + "-other"))[0] == 403
    refused = status(invoke)
    assert (refused[0], "sagemaker:CallWithBearerToken on resource: *" in refused[1]) == (403, True)


def test_the_container_ignores_a_model_s_name_and_openai_s_other_addresses_do_not_exist(served: Served) -> None:
    assert post(served, model="gpt-4.1")[1]["choices"] == post(served)[1]["choices"]
    for path in ("/models", "/completions", "/responses", "/embeddings"):
        assert post(served, path=path)[0] == 404
    status, error = post(served, messages=[])
    assert status == 424
    assert error["message"].startswith("Received client error (424) from primary with message")


def test_a_container_that_streams_events_and_knows_no_other_model_is_called_the_same_way(
    product: Product, deploy: Callable[[str], Served]
) -> None:
    """As vLLM's own server answers, which later images may have."""
    name = any_name("events")
    product.emulator.inject("vllm-answers", match=name, times=2)
    served = deploy(name)
    (chat,) = results("with_openai.py", served)
    assert chat["printed"][: len(chat["printed"]) // 2] * 2 == chat["printed"]
    status, error = post(served, model="gpt-4.1")
    assert (status, "The model `gpt-4.1` does not exist." in error["message"]) == (424, True)


@pytest.fixture(scope="module")
def imported(product: Product) -> Iterator[str]:
    """ARN of a model that was trained here and imported."""
    run_id = product.submit(b"".join(any_chats()), **QUICK)
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]
    model = RunLayout(run_id).model_artifact(status["training_job"])
    role = any_role(product.emulator, "bedrock.amazonaws.com", allow(["s3:GetObject", "s3:ListBucket", "kms:Decrypt"]))
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "bedrock.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnEquals": {"aws:SourceArn": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-import-job/*"},
        },
    }
    product.emulator.client("iam").update_assume_role_policy(
        RoleName=role.rpartition("/")[2], PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    bedrock = product.emulator.client("bedrock")
    job = bedrock.create_model_import_job(
        jobName=any_name("import"),
        importedModelName=any_name("imported"),
        roleArn=role,
        modelDataSource={"s3DataSource": {"s3Uri": f"s3://{product.artifacts}/{model}"}},
    )["jobArn"]
    while (described := bedrock.get_model_import_job(jobIdentifier=job))["status"] == "InProgress":
        time.sleep(0.2)
    assert described["status"] == "Completed", described["failureMessage"]
    yield described["importedModelArn"]
    bedrock.delete_imported_model(modelIdentifier=described["importedModelArn"])


@dataclass(frozen=True)
class Answered:
    """What the imported model answers to the programs' question; `pieces`: of the same text as a stream."""

    text: str
    reason: str
    pieces: list[str]


@pytest.fixture(scope="module")
def answered(product: Product, imported: str) -> Answered:
    """By boto3's InvokeModel. The model is not loaded at first."""
    runtime, body = product.emulator.client("bedrock-runtime", attempts=20), json.dumps(CHAT | {"max_tokens": 256})
    (choice,) = json.load(runtime.invoke_model(modelId=imported, body=body)["body"])["choices"]
    events = runtime.invoke_model_with_response_stream(modelId=imported, body=body)["body"]
    chunks = [json.loads(event["chunk"]["bytes"]) for event in events]
    pieces = [chunk["choices"][0]["delta"]["content"] for chunk in chunks]
    text = choice["message"]["content"]
    assert len(text) > 1
    assert "".join(pieces) == text
    return Answered(text, choice["finish_reason"], [piece for piece in pieces if piece])


@pytest.mark.parametrize(("program", "times"), list(zip(OF_BEDROCK, (2, 1), strict=True)))
def test_a_client_of_bedrock_chats_with_an_imported_model(
    product: Product, imported: str, answered: Answered, program: str, times: int
) -> None:
    """LangChain whole and as a stream."""
    product.emulator.inject("model-unloaded", match="canary-imported")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in product.emulator.environment().items():
            patch.setenv(name, value)
        patch.setenv("AWS_BEDROCK_RUNTIME_ENDPOINT", product.emulator.url)
        unknown = imported[:-12] + "0" * 12
        chat, refused = results(program, Served("", imported, ""), Served("", unknown, ""))
    assert chat["printed"] == f"{answered.text}\n" * times
    assert refused["status"] in (None, 400, 404), refused
    assert unknown.rpartition("/")[2] in refused["message"]


QUESTION = [{"role": "user", "content": [{"text": "Big kettle"}]}]
EXACT = {"maxTokens": 256, "temperature": 0}


def test_boto3_converses_with_an_imported_model(product: Product, imported: str, answered: Answered) -> None:
    runtime = product.emulator.client("bedrock-runtime", attempts=20)
    answer = runtime.converse(modelId=imported, messages=QUESTION, inferenceConfig=EXACT)
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": answered.text}]}
    assert answer["stopReason"] == {"stop": "end_turn", "length": "max_tokens"}[answered.reason]
    events = list(runtime.converse_stream(modelId=imported, messages=QUESTION, inferenceConfig=EXACT)["stream"])
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert deltas == answered.pieces
    assert events[-1]["metadata"]["usage"] == answer["usage"]
    short = runtime.converse(modelId=imported, messages=QUESTION, inferenceConfig=EXACT | {"maxTokens": 1})
    assert (short["stopReason"], short["usage"]["outputTokens"]) == ("max_tokens", 1)
    longer = runtime.converse(
        modelId=imported, messages=QUESTION, system=[{"text": "Be brief."}], inferenceConfig=EXACT
    )
    assert longer["usage"]["inputTokens"] > answer["usage"]["inputTokens"]


def test_bedrock_refuses_a_conversation_that_is_none(product: Product, imported: str, answered: Answered) -> None:
    runtime = product.emulator.client("bedrock-runtime")
    for messages, words in (
        ([{"role": "assistant", "content": [{"text": "Aye"}]}], "must start with a user message"),
        (
            [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": b"x"}}}]}],
            "image content blocks",
        ),
    ):
        with pytest.raises(runtime.exceptions.ValidationException, match=words):
            runtime.converse(modelId=imported, messages=messages)


def test_a_conversation_takes_the_permission_to_invoke(product: Product, imported: str, answered: Answered) -> None:
    role = any_role(product.emulator, "lambda.amazonaws.com", allow("bedrock:InvokeModel", imported))
    session = product.emulator.environment_of(role)
    credentials = {name.lower(): session[name] for name in session if name.startswith(("AWS_ACCESS", "AWS_SE"))}
    runtime = boto3.client("bedrock-runtime", REGION, endpoint_url=product.emulator.url, **credentials)
    answer = runtime.converse(modelId=imported, messages=QUESTION, inferenceConfig=EXACT)
    assert answer["output"]["message"]["content"] == [{"text": answered.text}]
    with pytest.raises(runtime.exceptions.AccessDeniedException, match="bedrock:InvokeModelWithResponseStream"):
        runtime.converse_stream(modelId=imported, messages=QUESTION)
