"""SwitchAlias: makes the endpoint's name stand for the run's imported model."""

from datetime import UTC, datetime

from finetuning.aws.bedrock import bedrock
from finetuning.errors import FineTuningError
from finetuning.handlers.step import Payload, step
from finetuning.operations.imports import delete_kept, take_back_import
from finetuning.operations.run import Run
from finetuning.operations.run_end import ended, has_ended, require_running
from finetuning.runs.aliases import Alias, ImportedModel
from finetuning.runs.layout import alias_key
from finetuning.runs.ownership import owners_after, owners_tag, refusal
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. The model before is kept for a rollback, those before it are deleted.

    Raises `FineTuningError` (ENDPOINT_NOT_OWNED).
    """
    require_running(run)
    name, plan, status = run.names.endpoint, run.plan, run.status
    model = ImportedModel(
        arn=status.imported_model, name=run.names.imported_model, run_id=run.run_id, since=datetime.now(UTC)
    )

    def switch(alias: Alias | None) -> Alias:
        alias = alias or Alias(name=name)
        tags = owners_tag(alias.owners) if alias.owners else {}
        if tags and (refused := refusal(name, plan.uploader, tags, settings().endpoint_replacement)):
            raise FineTuningError(refused.code, refused.message, refused.fix, field=refused.field)
        return alias.switched_to(model, owners_after(plan.owners, tags))

    alias = run.store.update(alias_key(name), Alias, switch)
    for surplus in alias.surplus:
        for line in delete_kept(bedrock(), run.store, name, surplus):
            run.record(line)
    if has_ended(run):  # the clean-up may have looked before
        raise ended(run, *take_back_import(run, model.since))
    before = f", and {alias.earlier[0].run_id} is kept for a rollback" if alias.earlier else ""
    return run.record(f"{name} answers with the imported model {model.name}{before}", endpoint=name).shown
