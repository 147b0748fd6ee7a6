"""The infrastructure as CDK constructs: `from finetuning_cdk import FineTuning`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetuning_cdk.fine_tuning import FineTuning as FineTuning

__all__ = ["FineTuning"]


def __getattr__(name: str) -> Any:
    """The construct, imported at its first use: `python -m finetuning_cdk.vocabulary` runs without the CDK."""
    if name != "FineTuning":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from finetuning_cdk.fine_tuning import FineTuning

    return FineTuning
