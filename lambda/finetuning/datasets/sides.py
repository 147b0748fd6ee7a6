"""Which files of an upload are data, and which of them are for training, for validation, and for tests."""

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePosixPath

NOT_DATA = frozenset(
    (
        *("run.json", "template.json", "dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"),
        *("package.json", "package-lock.json", "tsconfig.json", "tokenizer_config.json", "generation_config.json"),
        *("readme.txt", "license.txt", "licence.txt", "requirements.txt"),
    )
)
"""Names of files that hold no rows: a run's documents, and the metadata that tools put beside data."""


def is_left_out(path: str) -> bool:
    """True for a path in an upload that is hidden (`.name`, `_name`, `__MACOSX/`) or has the name of metadata."""
    parts = PurePosixPath(path).parts
    return any(part.startswith((".", "_")) for part in parts) or parts[-1].lower() in NOT_DATA


class Side(StrEnum):
    """What a file is for. Of a file to split, a share of the rows is held out."""

    SPLIT = "split"
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    LEFT_OUT = "left_out"


_SIDES = {
    **dict.fromkeys(("train", "training"), Side.TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), Side.VALIDATION),
    **dict.fromkeys(("test", "eval"), Side.TEST),
}
_WORDS = re.compile(r"[a-z]+")


def side_named(path: str) -> Side | None:
    """The side that a file's name says, as a whole word (`test-00000.parquet`, not `contest`), or else its folder's
    (`validation/part-0.json`). None if neither says one.
    """
    for part in reversed(PurePosixPath(path.lower()).parts):
        named = {_SIDES[word] for word in _WORDS.findall(part) if word in _SIDES}
        if named:
            return named.pop() if len(named) == 1 else None
    return None


def sides_of(paths: Sequence[str]) -> list[Side]:
    """What each file is for, by the names of all. With a file for validation nothing is held out of the others."""
    named = [side_named(path) for path in paths]
    rest = Side.TRAIN if Side.VALIDATION in named else Side.SPLIT
    return [side if side in (Side.VALIDATION, Side.TEST) else rest for side in named]
