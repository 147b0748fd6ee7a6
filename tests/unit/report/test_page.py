import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import pytest

from finetuning.datasets.dataset_report import DatasetReport, FileReport, LineError, Refusal
from finetuning.evaluation.questions import DEFAULT_PROMPT, as_inputs, invocation
from finetuning.evaluation.results import EvaluationReport
from finetuning.report import commands, page
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import CLEAN_UP, Check, Event, Rung, RunState, RunStatus
from tests.builders.runs import (
    RUN_ID,
    START,
    any_dataset,
    any_evaluation,
    any_failed_status,
    any_plan,
    any_refusal,
    any_status,
    at,
)


def render(
    status: RunStatus,
    plan: RunPlan | None = None,
    evaluation: EvaluationReport | None = None,
    dataset: DatasetReport | None = None,
) -> str:
    return page.render(status, stage="dev", plan=plan, evaluation=evaluation, dataset=dataset)


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' onload=alert(1) {{ 7*7 }} \x1b[2J\u202egnp\x00"


class Page(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_page() -> str:
    status = any_failed_status(
        step=HOSTILE,
        error={"code": HOSTILE, "message": HOSTILE, "fix": HOSTILE},
        events=[Event(time=START, step=HOSTILE, message=HOSTILE)],
        checks=[Check(check=HOSTILE, ok=False, message=HOSTILE, code=HOSTILE, field=HOSTILE, fix=HOSTILE)],
        links={HOSTILE: "https://example.com/" + HOSTILE, "bad": "javascript:alert(1)"},
    )
    evaluation = any_evaluation()
    row = evaluation.rows[0]
    answer = row.tuned.model_copy(update={"text": HOSTILE})
    hostile_row = row.model_copy(update={"prompt": HOSTILE, "reference": HOSTILE, "tuned": answer, "base": answer})
    evaluation = evaluation.model_copy(update={"rows": [hostile_row], "notes": [HOSTILE]})
    dataset = any_dataset(
        files=[FileReport(path=HOSTILE, format=None, compressed=False, shape=HOSTILE, why=HOSTILE)],
        task_reason=HOSTILE,
        errors=[
            LineError(file=HOSTILE, line=1, path=HOSTILE, code=HOSTILE, message=HOSTILE, fix=HOSTILE, snippet=HOSTILE)
        ],
        error_counts={HOSTILE: 1},
        ignored_columns={HOSTILE: 1},
        notes=[HOSTILE],
        samples=[HOSTILE],
        refusal=Refusal(code=HOSTILE, message=HOSTILE, fix=HOSTILE),
    )
    return render(status, any_plan(task=None), evaluation, dataset)


def test_whatever_data_and_models_say_stays_text() -> None:
    shown = Page(hostile_page())
    assert not {"script", "img", "iframe", "object", "link"} & set(shown.tags)
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    assert "{{ 7*7 }}" in shown.text
    assert "<script>alert(1)</script>" in shown.text


def test_control_characters_of_the_data_are_made_visible() -> None:
    html = hostile_page()
    assert not re.search(r"[\x00\x1b\u202e]", html)
    assert "␛[2J" in html


def test_only_https_links_are_links() -> None:
    targets = [value or "" for name, value in Page(hostile_page()).attributes if name == "href"]
    targets = [target for target in targets if not target.startswith("#")]
    assert len(targets) == 1
    assert targets[0].startswith("https://")


def test_the_page_fetches_nothing_and_its_policy_lets_nothing_be_fetched() -> None:
    html = render(any_status(), any_plan(), any_evaluation(), any_dataset())
    shown = Page(html)
    assert not [name for name, _ in shown.attributes if name in ("src", "srcset", "style", "action")]
    assert "@import" not in html
    assert "url(" not in html
    policy = next(value for name, value in shown.attributes if name == "content" and value and "default-src" in value)
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_success_says_where_the_model_answers_what_it_cost_and_what_it_said() -> None:
    text = Page(render(any_status(), any_plan(), any_evaluation())).text
    for expected in (
        "The tuned model answers at finetune-dev-pirate-0a1b2c3d",
        "38.75 USD",
        "training loss: 4.05 → 0.73",
        "Arr, rivers bring the salt, matey.",
        "Seawater is salty because of minerals.",
        "2 of 2 answers differ",
    ):
        assert expected in text


def test_a_failure_says_what_to_do_and_shows_no_section_it_has_nothing_for() -> None:
    text = Page(render(any_failed_status())).text
    assert "line 7 of chat.jsonl is not JSON" in text
    assert "Mend line 7." in text
    assert "Answers" not in text
    assert "Cost of the training" not in text


def test_a_check_that_refused_says_which_field_and_what_to_do() -> None:
    check = Check(
        check="licence", ok=False, message="not accepted", code="EULA_NOT_ACCEPTED", field="accept_eula", fix="Set it."
    )
    text = Page(render(any_failed_status(checks=[check]))).text
    for expected in ("✗ refused", "licence", "accept_eula", "not accepted", "Set it.", "EULA_NOT_ACCEPTED"):
        assert expected in text


def test_every_finding_of_a_refused_run_is_listed_with_its_fix() -> None:
    findings = [{"code": "CODE", "field": f"field.{n}", "message": f"wrong {n}", "fix": f"fix {n}"} for n in range(5)]
    error = {"code": "RUN_REFUSED", "message": "wrong 0 (and 4 more)", "fix": "fix 0", "findings": findings}
    text = Page(render(any_failed_status(error=error))).text
    for n in range(5):
        assert f"wrong {n}" in text
        assert f"fix {n}" in text
        assert f"field.{n}" in text


def test_every_line_of_the_data_is_accounted_for() -> None:
    text = Page(render(any_status(), dataset=any_dataset())).text
    assert "50 lines = 40 kept + 5 duplicates + 4 errors + 1 blank" in text
    assert "38 rows to train on, 2 held out" in text


def test_errors_stand_under_their_reason_the_commonest_first_with_place_snippet_and_fix() -> None:
    text = Page(render(any_failed_status(), dataset=any_dataset(refusal=any_refusal()))).text
    assert text.index("ROLE_ORDER: 3 lines") < text.index("JSON_TRUNCATED: 1 line")
    for expected in (
        "chat.jsonl, line 31",
        "messages[1].role",
        '{"role": "user", "content": "Ahoy"',
        "Let user and assistant alternate.",
        "4 of 50 lines are errors",
    ):
        assert expected in text


def test_lengths_truncation_and_samples_are_shown() -> None:
    html = render(any_status(), dataset=any_dataset())
    assert "128–255: 14. 256–511: 8." in html
    text = Page(html).text
    assert "1 row: the end is cut off in training" in text
    assert "<|start_header_id|>user<|end_header_id|>" in text


@pytest.mark.parametrize("state", list(RunState))
def test_every_state_has_a_headline(state: RunState) -> None:
    assert "<h1>The " in render(any_status(state=state))


def test_an_aborted_run_is_said_to_have_ended_where_it_was_not_where_it_was_cleaned_up() -> None:
    events = [Event(time=START, step=step, message="x") for step in ("PlanRun", "DescribeTraining", CLEAN_UP)]
    html = render(any_status(state=RunState.ABORTED, step=CLEAN_UP, events=events))
    assert "<h1>The run was aborted at DescribeTraining</h1>" in html


def test_every_table_names_its_columns_and_every_chart_says_what_it_shows() -> None:
    html = render(any_status(), any_plan(), any_evaluation(), any_dataset())
    assert html.count("<table") == html.count("<thead>")
    assert 'role="img" aria-label="training loss 4.05 → 0.73.' in html
    assert '<html lang="en">' in html


def test_the_same_run_renders_to_the_same_bytes() -> None:
    assert render(any_status(), any_plan()) == render(any_status(), any_plan())


def test_the_time_of_each_phase_is_told_in_words_beside_its_bar() -> None:
    html = render(any_status())
    text = Page(html).text
    assert "Training" in text
    assert "1 h 29 min" in text
    assert html.count('<rect class="bar"') == 4


def test_what_to_do_now_follows_from_how_the_run_ended() -> None:
    good = Page(render(any_status(), any_plan())).text
    for expected in (
        'finetune ask finetune-dev-pirate-0a1b2c3d "What can you help me with?" --stage dev',
        f"finetune clean-up {RUN_ID} --stage dev",
        "37.69 USD an hour. It goes after 8 h",
    ):
        assert expected in good
    refused = Page(render(any_failed_status(), any_plan(), dataset=any_dataset(refusal=any_refusal()))).text
    assert "finetune check chat.jsonl" in refused
    assert "finetune ask" not in refused
    assert "What now" not in Page(render(any_status(state=RunState.RUNNING))).text


def test_refused_data_comes_before_everything_else() -> None:
    html = render(any_failed_status(), any_plan(), dataset=any_dataset(refusal=any_refusal()))
    assert html.index('id="dataset"') < html.index('id="timeline"')
    good = render(any_status(), any_plan(), dataset=any_dataset())
    assert good.index('id="timeline"') < good.index('id="dataset"')


def test_every_entry_of_the_contents_leads_to_a_section() -> None:
    shown = Page(hostile_page())
    ids = {value for name, value in shown.attributes if name == "id"}
    targets = [value for name, value in shown.attributes if name == "href" and value and value.startswith("#")]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= ids


@pytest.mark.parametrize("task", ["chat", "instruction", "domain_adaptation"])
def test_the_program_on_the_page_asks_in_the_form_the_model_was_trained_on(
    monkeypatch: pytest.MonkeyPatch, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    template = {"prompt": 'Q: {q} "quoted" \U0001f600\n', "completion": "{a}"} if task == "instruction" else None
    program = commands.python_call("finetune-dev-parrot", any_plan(task=task, template=template))
    asked: dict[str, str] = {}

    class Runtime:
        def invoke_endpoint(self, **request: str) -> dict[str, io.BytesIO]:
            asked.update(request)
            return {"Body": io.BytesIO(b'{"generated_text": "Arr."}')}

    monkeypatch.setattr("boto3.client", lambda service: Runtime())
    exec(compile(program, "program", "exec"), {})
    assert json.loads(asked["Body"]) == invocation(as_inputs(DEFAULT_PROMPT, task, template))
    assert asked["EndpointName"] == "finetune-dev-parrot"
    assert capsys.readouterr().out == "Arr.\n"


def any_ladder(*outcomes: str) -> list[Rung]:
    return [
        Rung.model_validate(
            {"attempt": n, "instance_type": f"ml.g{n}.xlarge", "job_name": "j", "time": at(60 * n), "outcome": outcome}
        )
        for n, outcome in enumerate(outcomes)
    ]


def test_a_ladder_that_was_climbed_is_shown_rung_by_rung() -> None:
    text = Page(render(any_status(ladder=any_ladder("no_capacity", "completed")), any_plan())).text
    assert text.index("ml.g0.xlarge") < text.index("none free") < text.index("ml.g1.xlarge")
    assert "Where there was capacity" not in Page(render(any_status(ladder=any_ladder("completed")), any_plan())).text
    assert "Where there was capacity" in Page(render(any_status(ladder=any_ladder("no_capacity")), any_plan())).text


def test_the_means_say_of_how_many_prompts_they_are() -> None:
    assert "Mean of 1 prompt with a reference" in Page(render(any_status(), evaluation=any_evaluation())).text
