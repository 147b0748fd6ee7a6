"""The answers of the evaluation in a terminal."""

from rich.table import Table
from rich.text import Text

from finetuning.evaluation.examples import examples
from finetuning.evaluation.results import Answer, EvaluationReport, Scores
from finetuning_cli.display.text import counted, short

MAX_ANSWER = 300
"""Characters of a prompt or answer: enough to judge its style; the report page has the whole text."""


def answers_table(evaluation: EvaluationReport) -> Table:
    """The answers of base and tuned model beside the reference answer; mean scores below. Of many prompts: the one with
    the largest, the median and the smallest gain.
    """
    has_base = evaluation.has_base
    summary = evaluation.summary
    shown, others = examples(evaluation.rows)
    title = "Answers to prompts the model was not trained on"
    caption = f"{counted(len(others), 'more answer')}: on the report page" if others else None
    table = Table(title=title, caption=caption, show_lines=True, show_footer=True, expand=True)
    mean = f"mean of {counted(summary.scored, 'prompt')} with a reference" if summary.scored else ""
    table.add_column("prompt", ratio=2, overflow="fold", footer=mean)
    if has_base:
        table.add_column("base", ratio=3, overflow="fold", footer=_scores(summary.base))
    table.add_column("tuned", ratio=3, overflow="fold", footer=_scores(summary.tuned))
    table.add_column("reference", ratio=3, overflow="fold")
    for name, row in shown:
        answers = [_answer(row.base)] if has_base else []
        prompt, reference = short(row.prompt, MAX_ANSWER), short(row.reference or "—", MAX_ANSWER)
        notes = " · ".join(filter(None, (name, f"judge: {row.judged}" if row.judged else "")))
        question = Text.assemble(prompt, (f"\n{notes}" if notes else "", "dim"))
        table.add_row(question, *answers, _answer(row.tuned), reference)
    return table


def _answer(answer: Answer | None) -> Text:
    if answer is None:
        return Text("—")
    shown = short(answer.text, MAX_ANSWER)
    if answer.problem:
        shown = Text.assemble((f"[{answer.problem}] ", "bold red"), shown)
    cut_off = "cut off" if answer.finished is False else ""
    facts = [f"{answer.words} words", f"{answer.latency_ms / 1000:.1f} s", cut_off, _scores(answer.scores)]
    return Text.assemble(shown, ("\n" + " · ".join(filter(None, facts)), "dim"))


def _scores(scores: Scores | None) -> str:
    return f"ROUGE-L {scores.rouge_l:.2f} · exact {scores.exact_match:.0%}" if scores else ""
