"""A sweep of several parts, each of which runs although another failed."""

from collections.abc import Callable, Iterable

from aws_lambda_powertools import Logger

from finetuning.errors import Code, FineTuningError

logger = Logger(child=True)


class Sweep:
    """What the parts of one sweep did, by kind, and what failed."""

    def __init__(self, *kinds: str) -> None:
        self.done: dict[str, list[str]] = {kind: [] for kind in kinds}
        self._failures: list[str] = []

    def add(self, kind: str, lines: Iterable[str]) -> None:
        """Notes what was done, one line at a time: what came before a failure counts."""
        for line in lines:
            self.done[kind].append(line)

    def attempt(self, what: str, work: Callable[[], None]) -> bool:
        """Does one part; False, and no error yet, if it failed."""
        try:
            work()
        except Exception as error:  # one part must not keep the sweep from the others
            logger.exception("Part of the sweep failed", extra={"at": what})
            self._failures.append(f"{what}: {error.message if isinstance(error, FineTuningError) else error}")
            return False
        return True

    def require_complete(self) -> None:
        """Raises `FineTuningError` (SWEEP_INCOMPLETE) if a part failed."""
        if self._failures:
            raise FineTuningError(
                Code.SWEEP_INCOMPLETE,
                f"The sweep is incomplete: {'; '.join(self._failures)}",
                "The next sweep tries again. If it fails as well, delete the endpoint with `finetune clean-up RUN`.",
            )
