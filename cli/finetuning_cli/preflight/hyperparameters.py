"""Where each hyperparameter of a planned run comes from."""

from dataclasses import dataclass

from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.spec import ModelSpec
from finetuning.runs.plan import RunPlan


@dataclass(frozen=True)
class Setting:
    """A hyperparameter of the first instance type. `default`: the model's, "" if it has none."""

    name: str
    value: str
    source: str
    default: str

    @property
    def changed(self) -> bool:
        return self.source == "run.json" or self.value != self.default


def settings_of(plan: RunPlan, spec: ModelSpec) -> list[Setting]:
    """Those of run.json first, then those of the task, of the data and of the instance type, then the model's."""
    defaults = {each.name: each.default_text for each in spec.hyperparameters}
    flags = support(spec.model_id).family.task_flags(plan.task) if plan.task else {}
    option = plan.training.options[0]
    on_type = {name: each.default_text for name, each in spec.hyperparameters_on(option.instance_type).items()}

    def source(name: str, value: str) -> str:
        if name in plan.requested_hyperparameters:
            return "run.json"
        if value == defaults.get(name):
            return "model"
        if name in flags:
            return "task"
        return "instance" if value == on_type.get(name) else "data"

    found = [
        Setting(name, value, source(name, value), defaults.get(name, ""))
        for name, value in option.hyperparameters.items()
    ]
    order = ("run.json", "task", "data", "instance", "model")
    return sorted(found, key=lambda each: order.index(each.source))
