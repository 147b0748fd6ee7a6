import base64
import hashlib
import io
import json
import re
from functools import partial
from html import unescape
from html.parser import HTMLParser

import pytest

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.errors import Code
from finetuning.evaluation.examples import examples
from finetuning.evaluation.questions import DEFAULT_PROMPT, as_inputs, completion, invocation, stop_texts, stop_tokens
from finetuning.evaluation.results import JUDGE_EXPLAINED, Answer, EvaluationReport, LabelScore, Row, Scores
from finetuning.evaluation.verdict import judged
from finetuning.report import commands, outcome, page
from finetuning.runs.layout import alias_key
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Check, Cost, Event, Metric, Rung, RunState, RunStatus, Verdict
from tests.builders.answers import any_judgement
from tests.builders.pages import LOG, any_licence_refusal, any_page, hostile_page
from tests.builders.promotion import PACKAGE, SCORES
from tests.builders.runs import (
    RUN_ID,
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


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

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


def test_markup_in_data_and_answers_stays_text() -> None:
    shown = Page(hostile_page())
    assert not {"script", "img", "iframe", "object", "link"} & set(shown.tags)
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    assert "{{ 7*7 }}" in shown.text
    assert "<script>alert(1)</script>" in shown.text


def test_control_characters_in_the_data_are_made_visible() -> None:
    html = hostile_page()
    assert not re.search(r"[\x00\x1b\u202e]", html)
    assert "␛[2J" in html


def test_only_https_links_are_links() -> None:
    targets = [value or "" for name, value in Page(hostile_page()).attributes if name == "href"]
    targets = [target for target in targets if not target.startswith("#")]
    assert len(targets) == 1
    assert targets[0].startswith("https://")


def test_the_page_makes_no_requests_and_its_policy_blocks_them() -> None:
    html = render(any_status(), any_plan(), any_evaluation(), any_dataset())
    shown = Page(html)
    assert not [name for name, _ in shown.attributes if name in ("src", "srcset", "style", "action")]
    assert "@import" not in html
    assert "url(" not in html
    policy = next(value for name, value in shown.attributes if name == "content" and value and "default-src" in value)
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_success_shows_the_endpoint_the_cost_and_the_answers() -> None:
    text = Page(render(any_status(), any_plan(), any_evaluation())).text
    for expected in (
        "The tuned model is deployed at finetune-dev-pirate-0a1b2c3d",
        "38.75 USD",
        "During training: training loss 4.05 → 0.73, validation loss 3.71 → 0.81.",
        "training loss: 4.05 → 0.73",
        "about 28.90 USD (estimate)",
        "Arr, rivers bring the salt, matey.",
        "Seawater is salty because of minerals.",
        "2 of 2 answers differ",
    ):
        assert expected in text


def test_a_failure_says_what_to_do_and_has_no_empty_section() -> None:
    text = Page(render(any_failed_status())).text
    assert "line 7 of chat.jsonl is not JSON" in text
    assert "Fix line 7." in text
    assert "Answers" not in text
    assert "Training cost" not in text


def test_a_failed_check_names_the_field_and_the_fix() -> None:
    check = Check(
        check="licence", ok=False, message="not accepted", code="EULA_NOT_ACCEPTED", field="accept_eula", fix="Set it."
    )
    text = Page(render(any_failed_status(checks=[check]))).text
    for expected in ("✗ failed", "licence", "accept_eula", "not accepted", "Set it.", "EULA_NOT_ACCEPTED"):
        assert expected in text


def test_checks_that_passed_are_folded_behind_a_finding_and_open_without_one() -> None:
    passed = [Check(check=name, ok=True, message="as planned") for name in ("model", "task")]
    finding = Check(check="licence", ok=False, message="not accepted")
    folded = render(any_failed_status(checks=[*passed, finding]))
    places = [folded.index(text) for text in ("not accepted", "<details><summary>2 passed</summary>", "as planned")]
    assert places == sorted(places)
    assert "<details open><summary>2 passed</summary>" in render(any_status(checks=passed))


def test_an_evaluation_that_did_not_happen_has_no_cost() -> None:
    assert "Evaluation cost" not in render(any_failed_status(), any_plan())
    assert "Evaluation cost" in render(any_status(), any_plan(), any_evaluation())
    assert "Evaluation cost" in render(any_failed_status(), any_plan(), any_evaluation())


@pytest.mark.parametrize("rises", [True, False])
def test_the_page_warns_of_overfitting_only_where_the_validation_loss_rose(rises: bool) -> None:
    losses = {"train-loss": (4.0, 2.0, 1.0), "eval-loss": (3.0, 1.0, 2.0 if rises else 0.9)}
    metrics = [
        Metric(name=name, value=value, time=at(60 * n))
        for name, values in losses.items()
        for n, value in enumerate(values)
    ]
    assert ("means overfitting" in render(any_status(metrics=metrics), any_plan())) == rises


def test_a_warning_is_told_from_what_could_not_be_checked() -> None:
    warning = Check(check="batches", ok=None, message="The data may be too little.", fix="Add data.")
    unknown = Check(check="quota", ok=None, message="Service Quotas did not answer")
    text = Page(render(any_failed_status(checks=[warning, unknown]))).text
    assert "1 warning, 1 not checked" in text
    assert text.count("! warning") == text.count("? not checked") == 1
    assert "Add data." in text


def test_every_finding_of_a_refused_run_is_listed_with_its_fix() -> None:
    findings = [{"code": "CODE", "field": f"field.{n}", "message": f"wrong {n}", "fix": f"fix {n}"} for n in range(5)]
    error = {"code": "RUN_REFUSED", "message": "wrong 0 (and 4 more)", "fix": "fix 0", "findings": findings}
    text = Page(render(any_failed_status(error=error))).text
    for n in range(5):
        assert f"wrong {n}" in text
        assert f"fix {n}" in text
        assert f"field.{n}" in text


def test_every_line_of_the_data_is_counted() -> None:
    text = Page(render(any_status(), dataset=any_dataset())).text
    assert "50 lines = 40 kept + 5 duplicates + 4 errors + 1 blank" in text
    assert "38 training rows, 2 held-out rows" in text


def test_errors_are_grouped_by_code_most_frequent_first_with_line_snippet_and_fix() -> None:
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
    assert "1 row: truncated in training" in text
    assert "<|start_header_id|>user<|end_header_id|>" in text


def test_every_table_has_column_headers_and_every_chart_a_text_alternative() -> None:
    html = render(any_status(), any_plan(), any_evaluation(), any_dataset())
    assert html.count("<table") == html.count("<thead>")
    assert 'role="img" aria-label="training loss 4.05 → 0.73.' in html
    assert '<html lang="en">' in html


def test_the_same_run_renders_to_the_same_bytes() -> None:
    assert render(any_status(), any_plan()) == render(any_status(), any_plan())


def test_the_duration_of_each_phase_is_text_beside_its_bar() -> None:
    html = render(any_status())
    text = Page(html).text
    assert "Training" in text
    assert "1 h 29 min" in text
    assert html.count('<rect class="bar"') == 4


def test_the_next_steps_depend_on_the_outcome() -> None:
    good = Page(render(any_status(), any_plan())).text
    for expected in (
        'finetune ask finetune-dev-pirate-0a1b2c3d "What can you help me with?" --stage dev',
        f"finetune clean-up {RUN_ID} --stage dev",
    ):
        assert expected in good
    refused = Page(render(any_failed_status(), any_plan(), dataset=any_dataset(refusal=any_refusal()))).text
    assert "finetune check chat.jsonl" in refused
    assert "finetune ask" not in refused
    assert "Next steps" not in Page(render(any_status(state=RunState.RUNNING))).text


def test_refused_data_comes_before_everything_else() -> None:
    html = render(any_failed_status(), any_plan(), dataset=any_dataset(refusal=any_refusal()))
    assert html.index('id="dataset"') < html.index('id="next"')
    good = render(any_status(), any_plan(), dataset=any_dataset())
    assert good.index('id="training"') < good.index('id="dataset"')


def test_every_entry_of_the_contents_links_to_a_section() -> None:
    shown = Page(hostile_page())
    ids = {value for name, value in shown.attributes if name == "id"}
    targets = [value for name, value in shown.attributes if name == "href" and value and value.startswith("#")]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= ids


@pytest.mark.parametrize("task", ["chat", "instruction", "domain_adaptation"])
def test_the_program_on_the_page_uses_the_format_the_model_was_trained_on(
    monkeypatch: pytest.MonkeyPatch, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    template = {"prompt": 'Q: {q} "quoted" \U0001f600\n', "completion": "{a}"} if task == "instruction" else None
    program = commands.python_call("finetune-dev-parrot", any_plan(task=task, data_options={"template": template}))
    sent: dict[str, str] = {}

    class Runtime:
        def invoke_endpoint(self, **request: str) -> dict[str, io.BytesIO]:
            sent.update(request)
            return {"Body": io.BytesIO(b'{"generated_text": "Arr."}')}

    monkeypatch.setattr("boto3.client", lambda service: Runtime())
    exec(compile(program, "program", "exec"), {})
    assert json.loads(sent["Body"]) == invocation(as_inputs(DEFAULT_PROMPT, task, template), stop_tokens(task))
    assert sent["EndpointName"] == "finetune-dev-parrot"
    assert capsys.readouterr().out == "Arr.\n"


def test_the_program_for_an_imported_model_asks_the_one_that_the_name_stands_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, arn = "s3://artifacts/runs/pirate/training/job/output/model/", "arn:aws:bedrock:imported-model/abc"
    status = any_status(imported_model=arn, model_artifact=artifact)
    planned = any_plan(task="chat")
    planned = planned.model_copy(update={"endpoint": planned.endpoint.model_copy(update={"target": "bedrock"})})
    html = page.render(status, stage="dev", plan=planned, openai_base_url="https://runtime/openai/v1")
    (program,) = re.findall(r'aria-label="Python program">(.*?)</pre>', html, re.DOTALL)
    called: dict[str, dict[str, str]] = {}

    class Aws:
        def get_object(self, **request: str) -> dict[str, io.BytesIO]:
            called["s3"] = request
            return {"Body": io.BytesIO(json.dumps({"serving": {"arn": arn}}).encode())}

        def invoke_model(self, **request: str) -> dict[str, io.BytesIO]:
            called["bedrock"] = request
            return {"body": io.BytesIO(b'{"choices": [{"text": "Arr."}]}')}

    monkeypatch.setattr("boto3.client", lambda service, config=None: Aws())
    exec(compile(unescape(program), "program", "exec"), {})
    assert called["s3"] == {"Bucket": "artifacts", "Key": alias_key(status.endpoint)}
    assert called["bedrock"]["modelId"] == arn
    assert json.loads(called["bedrock"]["body"]) == completion(as_inputs(DEFAULT_PROMPT, "chat"), stop_texts("chat"))
    assert capsys.readouterr().out == "Arr.\n"
    assert "pip install openai" not in html
    assert "Keep the model longer" in html


def test_the_program_for_openai_s_client_is_on_the_page_of_a_chat_model_only() -> None:
    url = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/finetune-dev-parrot/openai/v1"
    html = partial(page.render, any_status(), stage="dev", openai_base_url=url)
    (program,) = re.findall(r'client">(# pip install openai.*?)</pre>', html(plan=any_plan(task="chat")), re.DOTALL)
    program = unescape(program)
    compile(program, "program", "exec")
    assert f"OpenAI(base_url={url!r})" in program
    assert "finetune token finetune-dev-pirate-0a1b2c3d --stage dev" in program
    assert "max_tokens=256" in program
    assert "pip install openai" not in html(plan=any_plan(task="instruction"))
    assert "pip install openai" not in page.render(any_status(), stage="dev", plan=any_plan(task="chat"))


def any_ladder(*outcomes: str) -> list[Rung]:
    return [
        Rung.model_validate(
            {"attempt": n, "instance_type": f"ml.g{n}.xlarge", "job_name": "j", "time": at(60 * n), "outcome": outcome}
        )
        for n, outcome in enumerate(outcomes)
    ]


def test_every_attempt_at_an_instance_type_is_listed() -> None:
    text = Page(render(any_status(ladder=any_ladder("no_capacity", "completed")), any_plan())).text
    assert text.index("ml.g0.xlarge") < text.index("no capacity") < text.index("ml.g1.xlarge")
    assert "Instance types tried" not in Page(render(any_status(ladder=any_ladder("completed")), any_plan())).text
    assert "Instance types tried" in Page(render(any_status(ladder=any_ladder("no_capacity")), any_plan())).text


def test_the_mean_scores_name_the_number_of_prompts() -> None:
    assert "Mean over 1 prompt with a reference" in Page(render(any_status(), evaluation=any_evaluation())).text


@pytest.mark.parametrize(
    ("status", "tone"),
    [
        (any_status(verdict=Verdict.HELPED), "good"),
        (any_status(verdict=Verdict.NO_CHANGE), "warn"),
        (any_status(verdict=Verdict.WORSE), "bad"),
        (any_status(), "good"),
        (any_failed_status(), "bad"),
        (any_status(state=RunState.RUNNING), "running"),
    ],
)
def test_the_colour_of_the_page_follows_state_and_verdict(status: RunStatus, tone: str) -> None:
    assert f'<header class="headline {tone}">' in render(status)


def scored(number: int, tuned: float, base: float) -> Row:
    answers = [Answer(text="", latency_ms=1, scores=Scores(rouge_l=score, exact_match=0)) for score in (tuned, base)]
    return Row(prompt=f"prompt {number}", source="held-out", reference="x", tuned=answers[0], base=answers[1])


def test_the_best_the_median_and_the_worst_answer_come_first_and_the_others_are_folded() -> None:
    gains = [0.1, 0.5, -0.2, 0.3, 0.2, 0.0, 0.4]
    rows = [scored(number, 0.4 + gain, 0.4) for number, gain in enumerate(gains)]
    first, others = examples(rows)
    assert [(title, row.prompt) for title, row in first] == [
        ("most gained", "prompt 1"),
        ("median", "prompt 4"),
        ("least gained", "prompt 2"),
    ]
    assert [row.prompt for row in others] == ["prompt 0", "prompt 3", "prompt 5", "prompt 6"]
    assert examples(rows[:3]) == ([("", row) for row in rows[:3]], [])
    html = render(any_status(), evaluation=any_evaluation().model_copy(update={"rows": rows}))
    assert "<summary>4 more answers</summary>" in html
    assert all(html.count(f"prompt {number}<") == 1 for number in range(7))


def test_a_page_has_so_many_answers_and_names_the_file_with_all() -> None:
    rows = [scored(number, 0.5, 0.4) for number in range(page.MAX_OTHERS + 5)]
    html = render(any_status(), evaluation=any_evaluation().model_copy(update={"rows": rows}))
    assert "<summary>102 more answers</summary>" in html
    assert html.count('<td data-label="Tuned">') == 3 + page.MAX_OTHERS
    assert "The first 100 of them; <code>evaluation.json</code> has all." in html


def test_accuracy_by_label_is_a_table() -> None:
    evaluation = any_evaluation()
    labels = [LabelScore(label="spam", prompts=9, tuned=0.889, base=0.333)]
    summary = evaluation.summary.model_copy(update={"labels": labels})
    html = render(any_status(), evaluation=evaluation.model_copy(update={"summary": summary}))
    row = html[html.index("Accuracy by label") :]
    assert "spam" in row
    assert "33 %" in row
    assert "89 %" in row


def test_a_long_answer_is_cut_and_its_whole_text_folded() -> None:
    whole = "word " * 80
    evaluation = any_evaluation()
    row = evaluation.rows[0].model_copy(update={"prompt": whole})
    html = render(any_status(), evaluation=evaluation.model_copy(update={"rows": [row]}))
    assert html.count('<details class="clamped">') == 1
    assert f"{whole[: page.CLAMP]}… </span>" in html
    assert f">{whole}</div></details>" in html


def test_the_first_screen_has_the_endpoints_price_and_expiry() -> None:
    header = render(any_status(), any_plan(), any_evaluation()).partition("</header>")[0]
    for expected in (
        "<h1>Tuning helped: ROUGE-L 0.13 → 0.53</h1>",
        'width="13.3%"',
        'width="53.3%"',
        "37.69 USD per hour",
        "expires on 2026-03-04 at 18:30 UTC, or earlier after 60 minutes without requests",
        "38.75 USD (estimate: 41.20 USD)",
    ):
        assert expected in header


def test_the_first_screen_has_the_price_of_an_imported_model_by_use() -> None:
    price = {"units": 8, "usd_per_unit_minute": 0.05718, "usd_per_unit_month": 1.95}
    imported = {"target": "bedrock", "idle_minutes": "never", "import_price": price}
    plan = any_plan(endpoint=any_plan().endpoint.model_dump() | imported)
    header = render(any_status(), plan, any_evaluation()).partition("</header>")[0]
    for expected in (
        "Imported model",
        "2.29 USD for each 5 minutes of use, 15.60 USD a month stored; expires on 2026-03-04 at 18:30 UTC",
    ):
        assert expected in header
    assert "per hour" not in header
    assert "without requests" not in header
    unknown = any_plan(endpoint=any_plan().endpoint.model_dump() | imported | {"import_price": None})
    assert outcome.serving_price(unknown) == "unknown"
    assert outcome.serving_price(any_plan()) == "37.69 USD per hour"
    unpriced = any_plan(endpoint=any_plan().endpoint.model_dump() | {"usd_per_hour": None})
    assert outcome.serving_price(unpriced) == "unknown"


def test_the_box_of_a_failure_has_the_retry_the_log_and_the_links() -> None:
    box = any_page("job failed").partition('<div class="error">')[2].partition("</div>")[0]
    places = [
        box.index(expected)
        for expected in ("The GPUs ran out of memory", "finetune submit pirate --stage dev", LOG[-1], "Training-log")
    ]
    assert places == sorted(places)


def test_the_runbook_is_a_link_where_the_stage_knows_its_address() -> None:
    link = "https://git.example.com/finetune/docs/runbook.md#eula_not_accepted"
    assert f'<a href="{link}" rel="noreferrer">EULA_NOT_ACCEPTED</a>' in any_page("licence refused")
    unknown = render(any_licence_refusal())
    assert "runbook.md#" not in unknown
    assert "docs/runbook.md explains the code" in unknown


def test_findings_come_before_what_could_not_be_checked_and_what_passed() -> None:
    text = Page(any_page("licence refused")).text
    assert "1 failed, 1 not checked, 9 passed" in text
    assert text.rindex("✗ failed") < text.index("? not checked") < text.index("✓ passed")


def test_the_page_of_a_redeployment_counts_from_its_beginning() -> None:
    again = at(86_400)
    events = [*any_status().events, Event(time=again, step="DeployEndpoint", message="Deploying it again")]
    status = any_status(redeployed_at=again, updated_at=at(86_460), events=events)
    text = Page(render(status, any_plan())).text
    assert "Redeployment of run" in text
    assert "2026-03-05 09:00 UTC, took 1 min 0 s" in text
    assert "All events (1)" in text


@pytest.mark.parametrize(
    ("kind", "headline"),
    [
        ("helped", "Tuning helped: ROUGE-L"),
        ("no change", "Tuning made no measurable change: ROUGE-L"),
        ("data refused", "Nothing was spent: the data was refused"),
        ("licence refused", "Nothing was spent: Meta&#39;s licence is not accepted"),
        ("job failed", "3.10 USD spent: the training ran out of memory"),
        ("no evaluation", "The tuned model is in service"),
    ],
)
def test_the_headline_says_the_outcome_in_words(kind: str, headline: str) -> None:
    assert f"<h1>{headline}" in any_page(kind)


def test_what_a_judge_says_stands_below_the_verdict_and_beside_each_prompt() -> None:
    evaluation, judgement = any_evaluation(), any_judgement()
    rows = [row.model_copy(update={"judged": "tuned"}) for row in evaluation.rows]
    evaluation = evaluation.model_copy(update={"rows": rows, "judgement": judgement})
    text = Page(render(any_status(judgement=judged(judgement)), any_plan(), evaluation)).text
    assert "The judge amazon.nova-pro-v1:0 prefers the tuned model's answer on 14 of 24 prompts" in text
    assert "win rate 0.73, where a tie counts half. 95 % interval 0.58 to 0.85." in text
    assert text.index("ROUGE-L") < text.index("The judge amazon") < text.index("Answers")
    assert text.count("judge: tuned") == len(rows)
    assert JUDGE_EXPLAINED in text


def test_a_page_without_a_judge_does_not_mention_one() -> None:
    assert "judge" not in Page(render(any_status(), any_plan(), any_evaluation())).text


def test_the_page_of_a_promoted_model_says_where_it_was_trained_and_nothing_of_a_training_here() -> None:
    names = {"run_id": RUN_ID, "training_job": "job", "artefact_digest": "a" * 64}
    plan = any_plan(promotion={"model_package": PACKAGE, "scores": SCORES, **names}, data_files=[])
    html = render(any_status(training_job="", metrics=[], cost=Cost()), plan=plan)
    trained = f"{PACKAGE} of the account 111122223333, evaluated there: verdict helped, rouge-l:tuned 0.533"
    assert f"<dt>Trained as</dt><dd>{trained}</dd>" in html
    for wrong in ("<dt>Data</dt>", "Training cost", "was not evaluated"):
        assert wrong not in html


@pytest.mark.parametrize("code", [code for code in Code if "PROMOTION" in code])
def test_a_promotion_is_tried_again_with_the_same_upload(code: Code) -> None:
    failed = any_failed_status(error={"code": code, "message": "no", "fix": "wait"})
    assert outcome.retry(failed, None, "prod") == (
        "Start the run again with the same upload",
        f"finetune submit --again {RUN_ID} --stage prod",
    )
