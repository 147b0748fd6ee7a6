"""What an imported model costs: while a copy of it is active, and for its storage."""

from pydantic import ConfigDict, computed_field

from finetuning.bedrock.facts import import_facts
from finetuning.jumpstart.family import ModelSupport
from finetuning.lazy_model import LazyModel

HOURS_A_MONTH = 730
"""AWS's own figure for monthly prices."""
DAYS_A_MONTH = HOURS_A_MONTH / 24


class ImportPrice(LazyModel):
    """The price of a model of `units` custom model units, in USD for each copy. Bedrock starts copies with the traffic,
    and none without. `source`: where the figures are from, in words.
    """

    model_config = ConfigDict(frozen=True)

    units: int
    usd_per_unit_minute: float
    usd_per_unit_month: float
    window_minutes: int = 5
    source: str = ""

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form; mypy has no rule for it
    @property
    def usd_per_window(self) -> float:
        """Of a window in which a copy is active. AWS's user guide divides the number of windows by 60, which is 300
        times too little; the example on its pricing page is counted as here.
        """
        return self.units * self.usd_per_unit_minute * self.window_minutes

    @computed_field  # type: ignore[prop-decorator]
    @property
    def usd_per_hour(self) -> float:
        """Of an hour without a pause of five minutes."""
        return self.usd_per_window * 60 / self.window_minutes

    @computed_field  # type: ignore[prop-decorator]
    @property
    def usd_per_month_stored(self) -> float:
        return self.units * self.usd_per_unit_month

    @property
    def in_words(self) -> str:
        """`0.57 USD for each 5 minutes of use, 3.90 USD a month stored`."""
        return (
            f"{self.usd_per_window:,.2f} USD for each {self.window_minutes} minutes of use, "
            f"{self.usd_per_month_stored:,.2f} USD a month stored"
        )

    def usd_per_month(self, hours_a_day: float) -> float:
        """With so many hours of use a day. With 24 it is the most that one copy can cost."""
        return hours_a_day * DAYS_A_MONTH * self.usd_per_hour + self.usd_per_month_stored

    def break_even(self, usd_per_hour: float) -> float:
        """Hours of use a day below which the imported model costs less than an endpoint of this price that always
        serves: 0 if it never does, 24 if it does at any use.
        """
        hours = (usd_per_hour * HOURS_A_MONTH - self.usd_per_month_stored) / (self.usd_per_hour * DAYS_A_MONTH)
        return min(max(hours, 0.0), 24.0)


def import_price(model: ModelSupport, region: str) -> ImportPrice | None:
    """None if the model's units are not known."""
    facts = import_facts()
    units = facts.units.value.get(model.size)
    if units is None:
        return None
    where = facts.price_region if region == facts.price_region else f"{facts.price_region}, assumed for {region}"
    return ImportPrice(
        units=units,
        usd_per_unit_minute=facts.usd_per_unit_minute.value,
        usd_per_unit_month=facts.usd_per_unit_month.value,
        window_minutes=facts.window_minutes.value,
        source=f"{facts.usd_per_unit_minute.source}, for {where}",
    )
