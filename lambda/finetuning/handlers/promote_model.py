"""PromoteModel: copies a model that another account has trained and approved, or checks that it is still approved.

The one step whose role may read in another account.
"""

from finetuning.errors import Code, FineTuningError
from finetuning.handlers.step import Payload, step
from finetuning.operations.promotion import copy_model, find_release, note_promotion, plan_promotion, read_promotion
from finetuning.operations.run import Run
from finetuning.runs.uploads import Upload


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, bucket, key, version_id}` → `{imported, autoscaling}`, and what it shows. The second call, after this
    account's own approval, finds the copy, and raises PROMOTION_NOT_APPROVED if the other account has withdrawn its.
    """
    request = read_promotion(run.store.read(run.layout.request) or b"{}")
    if request is None or request.promote is None:
        raise FineTuningError(
            Code.INTERNAL_ERROR, f"The run {run.run_id} promotes no model.", "Upload it again with `finetune promote`."
        )
    registered, release = find_release(request.promote)
    upload = Upload(event["bucket"], event["key"], event["version_id"])
    plan = run.find_plan()
    if plan is None:
        plan = plan_promotion(run, upload, request, registered, release)
        run.save_plan(plan)
        run.record(f"Copying {plan.promotion.in_words}" if plan.promotion else "", checks=plan.checks)
    location = copy_model(run, registered, release)
    note_promotion(run, registered.artefact_digest)
    status = run.record(
        f"The model has the digest that is registered and approved: {registered.artefact_digest}",
        model_artifact=location,
    )
    scaled = plan.endpoint.autoscaling is not None
    return {"imported": plan.endpoint.is_imported, "autoscaling": scaled, **status.shown}
