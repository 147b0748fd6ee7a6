"""SageMaker's refusals, with the codes and the words it uses: the product tells some of them apart by their words."""

from typing import Any


class Refused(Exception):
    """An error answer: code, message, HTTP status, and what else the body carries."""

    def __init__(self, code: str, message: str, status: int = 400, **details: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.details = code, message, status, details


def invalid(message: str) -> Refused:
    return Refused("ValidationException", message)
