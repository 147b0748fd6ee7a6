"""What to type next, on the report page and in messages: whole commands, ready to be copied."""

import shlex

from finetuning.errors import Code
from finetuning.evaluation.questions import DEFAULT_PROMPT, as_inputs, invocation
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


def ask(endpoint: str, stage: str) -> str:
    return f'finetune ask {endpoint} "{DEFAULT_PROMPT}" --stage {stage}'


def watch(run_id: str, stage: str) -> str:
    return f"finetune watch {run_id} --stage {stage}"


def approve(run_id: str, stage: str) -> str:
    return f"finetune approve {run_id} --stage {stage}"


def reject(run_id: str, stage: str) -> str:
    return f'finetune reject {run_id} --stage {stage} --reason "..."'


def deploy(run_id: str, stage: str) -> str:
    """Puts the model of an ended run live without training; a run that asks for approval asks anew."""
    return f"finetune deploy {run_id} --stage {stage}"


def extend(endpoint: str, hours: int, stage: str) -> str:
    return f"finetune extend {endpoint} --hours {hours} --stage {stage}"


def clean_up(run_id: str, stage: str) -> str:
    return f"finetune clean-up {run_id} --stage {stage}"


def endpoints(stage: str) -> str:
    return f"finetune endpoints --stage {stage}"


def check(file: str) -> str:
    return f"finetune check {file}"


def report(run_id: str, stage: str) -> str:
    return f"finetune report {run_id} --stage {stage}"


def python_call(endpoint: str, plan: RunPlan) -> str:
    """A whole program that asks the endpoint with boto3 alone, in the form the model was trained on."""
    body = invocation(as_inputs(DEFAULT_PROMPT, str(plan.task), plan.template))
    return SNIPPET.format(inputs=body["inputs"], parameters=body["parameters"], endpoint=endpoint)


def next_steps(status: RunStatus, plan: RunPlan | None, stage: str) -> list[tuple[str, str]]:
    """(what for, command), those that make sense for a run that ended so."""
    steps = []
    if plan and status.error and status.error.get("code") == Code.DATASET_REFUSED:
        names = [file.key.rpartition("/")[2] for file in plan.data_files]
        steps += [("Check the mended data before it is uploaded", check(" ".join(map(shlex.quote, names))))]
    if status.state is RunState.SUCCEEDED and status.endpoint:
        steps += [("Ask it from a terminal", ask(status.endpoint, stage))]
        steps += [("See what runs, and what it costs by the hour", endpoints(stage))]
    if status.training_job or status.endpoint:
        steps += [("Delete what costs money; files and tuned weights stay", clean_up(status.run_id, stage))]
    steps += [("Open this page again, by a new link", report(status.run_id, stage))]
    return steps
