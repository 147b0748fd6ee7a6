"""docs/article.md: the plans in it are what `finetune plan` prints.

`UPDATE_GOLDENS=1` writes them again.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finetuning_cli.main import app
from tests.builders.cli import SIGNED_OUT
from tests.shared import SHARED, needs_shared

PROJECT = Path(__file__).resolve().parents[3]
ARTICLE = PROJECT / "docs" / "article.md"
SAMPLE = SHARED / "data" / "samples" / "oasst_top1_text.jsonl"
THREADS = 10_000


def any_threads() -> str:
    """As many different threads as the article's, with the lengths of the sample's."""
    sample = [json.loads(line)["text"] for line in SAMPLE.read_text().splitlines()]
    numbered = (
        sample[number % len(sample)].replace("<|im_end|>", f" ({number // len(sample)})<|im_end|>", 1)
        for number in range(THREADS)
    )
    return "".join(json.dumps({"text": text}) + "\n" for text in numbered)


@needs_shared
@pytest.mark.parametrize("size", ["405b", "8b"])
def test_the_plan_in_the_document_is_that_of_the_command(tmp_path: Path, size: str) -> None:
    shutil.copy(PROJECT / "examples" / "article" / size / "run.json", tmp_path)
    (tmp_path / "oasst.jsonl").write_text(any_threads())
    printed = CliRunner().invoke(app, ["plan", str(tmp_path), "--accept-eula"], env=SIGNED_OUT | {"COLUMNS": "100"})
    assert printed.exit_code == 0
    lines = [line.rstrip() for line in printed.output.splitlines() if not line.startswith("Planned ")]
    block = re.compile(rf"(?<=<!-- plan {size}: begin -->\n).*(?=<!-- plan {size}: end -->)", re.DOTALL)
    made = "```\n" + "\n".join(lines) + "\n```\n"
    document = ARTICLE.read_text(encoding="utf-8")
    if os.environ.get("UPDATE_GOLDENS"):
        ARTICLE.write_text(block.sub(lambda _: made, document), encoding="utf-8")
        return
    assert made in document
