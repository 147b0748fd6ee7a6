"""What the models of all families have in common: the tasks they are trained for, and the form of a dialog."""

from enum import StrEnum
from typing import TypedDict


class Task(StrEnum):
    """JumpStart's three ways to train; each takes rows of one form."""

    CHAT = "chat"
    INSTRUCTION = "instruction"
    DOMAIN_ADAPTATION = "domain_adaptation"


class Message(TypedDict):
    """One turn of a dialog, in the form of JumpStart's chat datasets."""

    role: str
    content: str
