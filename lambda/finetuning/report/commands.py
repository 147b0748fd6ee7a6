"""Complete commands for the report page and for messages, ready to be copied."""

import shlex

from finetuning.errors import Code
from finetuning.evaluation.questions import (
    DEFAULT_PROMPT,
    as_inputs,
    completion,
    invocation,
    stop_texts,
    stop_tokens,
)
from finetuning.jumpstart.family import Task
from finetuning.runs.layout import alias_key
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunState, RunStatus

SNIPPET = """\
import boto3, json

body = {{
    "inputs": {inputs!r},
    "parameters": {parameters!r},
}}
runtime = boto3.client("sagemaker-runtime")
answer = runtime.invoke_endpoint(EndpointName={endpoint!r}, ContentType="application/json", Body=json.dumps(body))
print(json.load(answer["Body"])["generated_text"])
"""

IMPORTED_SNIPPET = """\
import boto3, json
from botocore.config import Config

body = {body!r}
# A model that nobody asked for five minutes is loaded again first: calls are repeated for some minutes.
patient = Config(retries={{"mode": "standard", "total_max_attempts": 20}})
runtime = boto3.client("bedrock-runtime", config=patient)
alias = boto3.client("s3").get_object(Bucket={bucket!r}, Key={key!r})
model = json.load(alias["Body"])["serving"]["arn"]
answer = runtime.invoke_model(modelId=model, body=json.dumps(body))
print(json.load(answer["body"])["choices"][0]["text"])
"""

OPENAI_SNIPPET = """\
# pip install openai; export OPENAI_API_KEY=$({token})
from openai import OpenAI

client = OpenAI(base_url={base_url!r})
answer = client.chat.completions.create(
    model="",
    messages=[{{"role": "user", "content": {prompt!r}}}],
    max_tokens={max_tokens},
    temperature={temperature},
    top_p={top_p},
)
print(answer.choices[0].message.content)
"""


def ask(endpoint: str, stage: str) -> str:
    return f'finetune ask {endpoint} "{DEFAULT_PROMPT}" --stage {stage}'


def watch(run_id: str, stage: str) -> str:
    return f"finetune watch {run_id} --stage {stage}"


def approve(run_id: str, stage: str) -> str:
    return f"finetune approve {run_id} --stage {stage}"


def reject(run_id: str, stage: str) -> str:
    return f'finetune reject {run_id} --stage {stage} --reason "..."'


def deploy(run_id: str, stage: str) -> str:
    """Deploys the model of a finished run without training it again; asks for approval if the run requires it."""
    return f"finetune deploy {run_id} --stage {stage}"


def extend(endpoint: str, hours: int, stage: str) -> str:
    return f"finetune extend {endpoint} --hours {hours} --stage {stage}"


def clean_up(run_id: str, stage: str) -> str:
    return f"finetune clean-up {run_id} --stage {stage}"


def endpoints(stage: str) -> str:
    return f"finetune endpoints --stage {stage}"


def submit(path: str, stage: str) -> str:
    return f"finetune submit {shlex.quote(path)} --stage {stage}"


def submit_again(run_id: str, stage: str) -> str:
    """Repeats the upload of a run, which starts another run."""
    return f"finetune submit --again {run_id} --stage {stage}"


def check(file: str) -> str:
    return f"finetune check {file}"


def report(run_id: str, stage: str) -> str:
    return f"finetune report {run_id} --stage {stage}"


def python_call(endpoint: str, plan: RunPlan) -> str:
    """A complete program that invokes the endpoint with boto3 only, in the format the model was trained on."""
    inputs = as_inputs(DEFAULT_PROMPT, str(plan.task), plan.template, family=plan.family)
    body = invocation(inputs, stop_tokens(str(plan.task), plan.family))
    return SNIPPET.format(inputs=body["inputs"], parameters=body["parameters"], endpoint=endpoint)


def imported_call(status: RunStatus, plan: RunPlan) -> str:
    """The same for a name that stands for an imported model: the alias document says for which."""
    inputs = as_inputs(DEFAULT_PROMPT, str(plan.task), plan.template, family=plan.family)
    return IMPORTED_SNIPPET.format(
        body=completion(inputs, stop_texts(str(plan.task), plan.family)),
        bucket=status.model_artifact.removeprefix("s3://").partition("/")[0],
        key=alias_key(status.endpoint),
    )


def token(endpoint: str, stage: str) -> str:
    return f"finetune token {endpoint} --stage {stage}"


def speaks_openai(plan: RunPlan) -> bool:
    """Whether OpenAI's clients can call the endpoint as its model was trained: its server renders a chat in the chat
    format. An imported model has no such address.
    """
    return plan.task == Task.CHAT and not plan.endpoint.is_imported


def openai_call(endpoint: str, base_url: str, stage: str) -> str:
    """A complete program that asks the endpoint with OpenAI's client; without a stream, which docs/calling.md has."""
    parameters = invocation("")["parameters"]
    return OPENAI_SNIPPET.format(
        token=token(endpoint, stage),
        base_url=base_url,
        prompt=DEFAULT_PROMPT,
        max_tokens=parameters["max_new_tokens"],
        temperature=parameters["temperature"],
        top_p=parameters["top_p"],
    )


def next_steps(status: RunStatus, plan: RunPlan | None, stage: str) -> list[tuple[str, str]]:
    """(purpose, command) pairs that apply to the outcome of the run, besides the one that starts it again."""
    steps = []
    if plan and status.error and status.error.get("code") == Code.DATASET_REFUSED:
        names = [file.key.rpartition("/")[2] for file in plan.data_files]
        steps += [("Check the corrected data before uploading it", check(" ".join(map(shlex.quote, names))))]
    if status.state is RunState.SUCCEEDED and status.endpoint:
        thing, per = ("model", "when asked") if status.imported_model else ("endpoint", "per hour")
        steps += [(f"Ask the {thing} from a terminal", ask(status.endpoint, stage))]
        steps += [(f"List {thing}s and what they cost {per}", endpoints(stage))]
        steps += [(f"Keep the {thing} longer", extend(status.endpoint, 4, stage))]
    if status.training_job or status.endpoint:
        steps += [("Delete what costs money; files and tuned weights are kept", clean_up(status.run_id, stage))]
    steps += [("Get a new link to this page", report(status.run_id, stage))]
    return steps
