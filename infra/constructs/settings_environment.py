"""The functions' environment: exactly the fields of `finetuning.settings.Settings`."""

from collections.abc import Iterable, Mapping

from finetuning.settings import Settings
from infra.config import StageConfig

GIVEN_BY_LAMBDA = frozenset({"aws_region"})


def settings_environment(config: StageConfig, deployed: Mapping[str, object]) -> dict[str, str]:
    """The variables: from what is deployed, else from the configuration's field of that name.

    Raises `KeyError` with the field's name where neither knows it, so that a new setting cannot be forgotten here.
    """
    known = {**dict(config), **deployed}
    values = {name: known[name] for name in Settings.model_fields if name not in GIVEN_BY_LAMBDA}
    return {name.upper(): _written(value) for name, value in values.items() if value is not None}


def _written(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value
        case Iterable():
            return ",".join(map(str, value))
    return str(value)
