"""Files as people have them, each with `task: auto`, from upload to trained model."""

import csv
import io
import json
from typing import Any

import pytest

from finetuning.runs.layout import RunLayout
from tests.rehearsal.support.product import Product, any_chats

ROWS = 12


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def oasst_top_1() -> bytes:
    turn = "<|im_start|>user\nWhat is {0} and {0}?<|im_end|>\n<|im_start|>assistant\nThat is {1}.<|im_end|>\n"
    return json_lines([{"text": turn.format(n, 2 * n)} for n in range(ROWS)])


def dolly() -> bytes:
    return json_lines(
        [
            {
                "instruction": f"Name the ship that sails in month {n}.",
                "context": f"In month {n} sails the Marigold {n}.",
                "response": f"The Marigold {n}.",
                "category": "closed_qa",
            }
            for n in range(ROWS)
        ]
    )


def annual_report() -> bytes:
    years = range(2000, 2000 + ROWS)
    lines = [f"In the fiscal year {year} net sales of the Ossel Bell Company rose to {year} crowns." for year in years]
    return ("UNITED STATES\nFORM 10-K\n\n" + "\n".join(lines) + "\n").encode()


def sharegpt_array() -> bytes:
    talks = [
        {"conversations": [{"from": "human", "value": f"Say {n}."}, {"from": "gpt", "value": f"{n}, aye."}]}
        for n in range(ROWS)
    ]
    return json.dumps(talks, indent=1).encode()


def question_and_answer_csv() -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["question", "answer"])
    writer.writerows([f"What is {n}?", f"A number,\nnamely {n}."] for n in range(ROWS))
    return text.getvalue().encode()


FILES = {
    "oasst.jsonl": (oasst_top_1(), "chat"),
    "dolly.jsonl": (dolly(), "instruction"),
    "10-k.txt": (annual_report(), "domain_adaptation"),
    "sharegpt.json": (sharegpt_array(), "chat"),
    "faq.csv": (question_and_answer_csv(), "chat"),
}
"""File → its content, and the task it asks for by its looks."""


@pytest.fixture(scope="module")
def submitted(product: Product) -> dict[str, str]:
    """All files uploaded at once, for their runs go on side by side: file → run id."""
    return {file: product.submit(data, file, task="auto") for file, (data, _) in FILES.items()}


@pytest.mark.parametrize("file", FILES)
def test_a_file_as_people_have_it_ends_in_a_trained_model(
    product: Product, submitted: dict[str, str], file: str
) -> None:
    run_id = submitted[file]
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]["message"]
    s3, layout = product.emulator.client("s3"), RunLayout(run_id)
    plan = json.loads(s3.get_object(Bucket=product.artifacts, Key=layout.plan)["Body"].read())
    assert plan["task"] == FILES[file][1]
    artifact = layout.model_artifact(status["training_job"])
    assert s3.list_objects_v2(Bucket=product.artifacts, Prefix=artifact)["KeyCount"] > 0


def test_three_bad_lines_in_a_hundred_stop_the_run_before_training_and_are_listed(product: Product) -> None:
    lines = any_chats(100)
    for number in (20, 50, 80):
        lines[number - 1] = b'{"messages": []}\n'
    run_id = product.submit(b"".join(lines), task="auto")
    assert product.ended(run_id)["state"] == "failed"
    assert product.jobs_of(run_id) == {}
    body = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=RunLayout(run_id).dataset_report)[
        "Body"
    ]
    assert [error["line"] for error in json.loads(body.read())["errors"]] == [20, 50, 80]
