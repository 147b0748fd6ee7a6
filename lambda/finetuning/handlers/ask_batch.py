"""AskBatch: asks one model one batch of the prompts, and keeps its answers."""

from finetuning.evaluation.asking import ask_batch, not_asked, numbers_in
from finetuning.handlers.step import Payload, step
from finetuning.operations.answers import Model, asker_of, find_batch, questions_of
from finetuning.operations.run import Run


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate"|"base", batch}` → what it shows. The first batch is batch 0.

    Raises `EndpointFailed` (MODEL_NOT_READY) if Bedrock does not load an imported model.
    """
    plan, variant, batch = run.plan, event["variant"], int(event["batch"])
    model: Model = "base" if variant == "base" else "tuned"
    asked, key = questions_of(run), run.layout.answers(model, batch)
    numbers = numbers_in(batch, len(asked))
    if not batch:
        run.record(f"Asking the {model} model {len(asked)} prompt{'s' if len(asked) != 1 else ''}")
    elif find_batch(run, model, 0).is_unanswered:
        run.store.save(key, not_asked(numbers))
        return run.status.shown
    imported = plan.endpoint.is_imported and model == "tuned"
    asked_by = run.status.imported_model if imported else run.names.endpoint_of(variant)
    ask = asker_of(asked_by, str(plan.task), plan.family, lambda line: run.record(line, progress=line))
    ask_batch(asked, numbers, find_batch(run, model, batch), ask, lambda answers: run.store.save(key, answers))
    answered = f"{numbers[0] + 1} to {numbers[-1] + 1} of {len(asked)}"
    return run.record("", progress=f"The {model} model was asked the prompts {answered}").shown
