"""The page of two runs side by side."""

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta

from finetuning.evaluation.run_comparison import EvaluatedRun, compare_runs
from finetuning.report.comparison_page import render
from tests.builders.answers import any_evaluated_run, any_judgement, right, wrong


def page_of(first: EvaluatedRun, second: EvaluatedRun) -> str:
    return render(compare_runs(first, second), first, second)


def later(run: EvaluatedRun, days: float) -> EvaluatedRun:
    """The same run, trained so many days later."""
    metrics = [each.model_copy(update={"time": each.time + timedelta(days=days)}) for each in run.status.metrics]
    return replace(run, status=run.status.model_copy(update={"metrics": metrics}))


def test_the_page_has_both_runs_scores_losses_costs_and_settings() -> None:
    html = page_of(
        any_evaluated_run("pirate-1", wrong), any_evaluated_run("pirate-2", right, plan={"model_version": "3.0.0"})
    )
    text = re.sub(r"<[^>]+>", " ", html)
    for expected in (
        "pirate-2 is better than pirate-1",
        "1.00, 95 % interval 1.00 to 1.00",
        "training loss 4.05 → 0.73",
        "38.75 USD",
        "model_version",
        "2.16.2",
        "3.0.0",
        "pirate-1: 4.05 → 0.73",
    ):
        assert expected in text, expected


def test_the_curves_of_runs_of_different_days_begin_together() -> None:
    ours, theirs = any_evaluated_run("pirate-1", wrong), later(any_evaluated_run("pirate-2", right), 30)
    lines = re.findall(r'<polyline class="line \w" points="([^"]+)"', page_of(ours, theirs))
    assert len(lines) == 4, "a line for each run in the charts of both losses"
    assert lines[0] == lines[1], "the runs lost the same in the same time"
    uneven = theirs.status.metrics[:-2]
    theirs = replace(theirs, status=theirs.status.model_copy(update={"metrics": uneven}))
    ours_points, theirs_points = (
        points.split()
        for points in re.findall(r'<polyline class="line \w" points="([^"]+)"', page_of(ours, theirs))[:2]
    )
    assert theirs_points == ours_points[:2], "one epoch less, by time"


def test_names_and_settings_are_text() -> None:
    hyper = "<script>alert(1)</script>"
    ours = any_evaluated_run("pirate-1", wrong)
    theirs = any_evaluated_run("pirate-2", right, plan={"model_version": hyper})
    html = page_of(ours, theirs)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_the_page_makes_no_requests_and_its_policy_allows_its_style_alone() -> None:
    html = page_of(any_evaluated_run("pirate-1", wrong), any_evaluated_run("pirate-2", right))
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in html
    assert not re.search(r"\s(src|style|href)=", html)


def test_runs_with_equal_settings_say_so() -> None:
    html = page_of(any_evaluated_run("pirate-1", wrong), any_evaluated_run("pirate-2", right))
    assert "None: both runs had the same model, data and hyperparameters." in html


def test_the_win_rate_of_a_judge_is_a_row_and_a_run_without_one_has_none() -> None:
    ours, theirs = any_evaluated_run("pirate-1", wrong), any_evaluated_run("pirate-2", right)
    assert "Win rate" not in page_of(ours, theirs)
    theirs = replace(theirs, report=theirs.report.model_copy(update={"judgement": any_judgement()}))
    text = re.sub(r"<[^>]+>", " ", page_of(ours, theirs))
    assert "0.73, 95 % interval 0.58 to 0.85, by amazon.nova-pro-v1:0" in text
    assert re.search(r"Win rate against the base model\s+—\s+0\.73", text)
