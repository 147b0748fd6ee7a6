"""The table of the preflight's checks, and the findings in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from finetuning.errors import Code, Finding, FineTuningError, TransientAwsError
from finetuning.runs.status import Check

T = TypeVar("T")


@dataclass
class Checklist:
    """The checks of a preflight, in order. A field that run.json got wrong has one finding, not one per check."""

    checks: list[Check] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return [Finding(c.code, c.field, c.message, c.fix) for c in self.checks if c.ok is False]

    def passed(self, check: str, message: str) -> None:
        self.checks.append(Check(check=check, ok=True, message=message))

    def unknown(self, check: str, why: str) -> None:
        self.checks.append(Check(check=check, ok=None, message=why))

    def warned(self, check: str, message: str, fix: str) -> None:
        """Adds a warning, which stops no run."""
        self.checks.append(Check(check=check, ok=None, message=message, fix=fix))

    def found(self, check: str, *findings: Finding) -> None:
        refused = {c.field for c in self.checks if c.ok is False and c.code == Code.RUN_JSON_INVALID}
        for finding in findings:
            if not finding.field or finding.field not in refused:
                self.checks.append(
                    Check(
                        check=check,
                        ok=False,
                        message=finding.message,
                        code=finding.code,
                        field=finding.field,
                        fix=finding.fix,
                    )
                )

    def attempt(self, check: str, judge: Callable[[], T]) -> T | None:
        """The result of `judge`, or None and a finding if it raises a typed error. `TransientAwsError` is passed on."""
        try:
            return judge()
        except TransientAwsError:
            raise
        except FineTuningError as error:
            self.found(check, Finding(error.code, error.field, error.message, error.fix))
            return None
