"""What is prepared, settled before any of it is read: the files, the task, the shards."""

from collections.abc import Iterator, Sequence
from sys import maxsize

from pydantic import ConfigDict

from finetuning.datasets.formats import Detection, Framing
from finetuning.datasets.limits import COMPARED_UNASKED
from finetuning.datasets.options import DataOptions
from finetuning.datasets.resolution import Resolution
from finetuning.datasets.sides import Side
from finetuning.datasets.templates import Template
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from finetuning.jumpstart.family import Task
from finetuning.lazy_model import LazyModel

MAX_CALLS = 400
"""How many calls of PrepareShard one run makes at most. An execution has 25,000 events in its history; when they are
used up, it fails, and no state can catch that."""


class SourceFile(LazyModel):
    """A file to read: `key` is where it is stored, `name` the user's name for it, `size` in bytes."""

    model_config = ConfigDict(frozen=True)

    name: str
    key: str
    size: int
    bucket: str = ""
    version_id: str | None = None
    etag: str | None = None
    detection: Detection
    text_column: str = ""
    side: Side = Side.SPLIT


class Shard(LazyModel):
    """The records of a file that start in the bytes `[start, end)`; `end` None: to the end of the file."""

    model_config = ConfigDict(frozen=True)

    number: int
    file: int
    start: int = 0
    end: int | None = None

    @property
    def key(self) -> str:
        """Prefix of the objects that the shard writes."""
        return f"{self.number:05d}/"


class Preparation(LazyModel):
    """Everything that the shards and the join need to know. With a `resolution.refusal` nothing is read."""

    model_config = ConfigDict(frozen=True)

    files: tuple[SourceFile, ...]
    shards: tuple[Shard, ...]
    calls: tuple[int, ...] = ()
    """The first shard of each call: small files are prepared together."""
    resolution: Resolution
    options: DataOptions
    max_input_length: int | None = None
    """Tokens of a row that the model reads in training."""
    family: str = DEFAULT_FAMILY.name
    """Of the model; its chat template renders the dialogs."""

    def shards_of_call(self, first: int) -> tuple[Shard, ...]:
        """The shards that one call prepares, from the first of them. Before calls were planned, each had one."""
        if not self.calls:
            return (self.shards[first],)
        later = [number for number in self.calls if number > first]
        return self.shards[first : later[0] if later else None]

    @property
    def task(self) -> Task:
        return self.resolution.task

    @property
    def convertible(self) -> bool:
        return self.resolution.convertible

    @property
    def template(self) -> Template | None:
        return self.options.template_for(self.task)

    @property
    def row_limit(self) -> int:
        """Tokens after which training cuts off a row. A text is cut into blocks of the right length instead."""
        return self.max_input_length or maxsize if self.task is not Task.DOMAIN_ADAPTATION else maxsize

    def held_out_below(self, file: SourceFile) -> int:
        """Rows of the file are held out if their digest, as a number of 128 bits, is smaller."""
        if file.side is Side.SPLIT:
            return int(self.options.validation_fraction * (1 << 128))
        return 0 if file.side is Side.TRAIN else 1 << 128

    @property
    def holds_out(self) -> bool:
        """Whether a share of the rows is held out: unless it is 0, or the upload has files for validation."""
        return bool(self.options.validation_fraction) and any(file.side is Side.SPLIT for file in self.files)

    @property
    def has_own_split(self) -> bool:
        """Whether files of the upload are for validation or for tests."""
        return any(file.side in (Side.VALIDATION, Side.TEST) for file in self.files)

    @property
    def is_text(self) -> bool:
        return any(file.detection.framing is Framing.TEXT for file in self.files)

    @property
    def drops_near_duplicates(self) -> bool:
        """Whether they are left out of the training. Lines of a text are not compared."""
        return self.options.data.near_duplicates == "drop" and not self.is_text

    @property
    def compares_rows(self) -> bool:
        """Whether near-duplicates are looked for."""
        small = sum(file.size for file in self.files) <= COMPARED_UNASKED
        return self.drops_near_duplicates or (small and not self.is_text)

    @property
    def data_file(self) -> str:
        """Name of the data file in a channel. JumpStart reads JSON Lines as `.jsonl` for chat and instruction, and
        exactly one `.txt`, `.csv` or `.json` file for domain adaptation.
        """
        if self.task is not Task.DOMAIN_ADAPTATION:
            return "data.jsonl"
        return "data.txt" if self.is_text else "data.json"


def prepare(
    files: Sequence[SourceFile],
    resolution: Resolution,
    options: DataOptions,
    *,
    shard_bytes: int = maxsize,
    max_input_length: int | None = None,
    family: str = DEFAULT_FAMILY.name,
) -> Preparation:
    """The preparation of files that were resolved. Files that can be cut are cut into shards of about `shard_bytes`, or
    larger ones where they would need more than `MAX_CALLS` calls.
    """
    columns = resolution.text_columns or ("",) * len(files)
    sides = resolution.sides or (Side.SPLIT,) * len(files)
    placed = [
        file.model_copy(update={"text_column": column, "side": side})
        for file, column, side in zip(files, columns, sides, strict=True)
    ]
    # Two neighbouring calls have more than this together, so that there are at most twice as many as fit.
    call_bytes = max(shard_bytes, -(-sum(file.size for file in placed) // (MAX_CALLS // 2 - 1)))
    shards = _shards(placed, call_bytes) if not resolution.refusal else []
    return Preparation(
        files=tuple(placed),
        shards=tuple(shards),
        calls=tuple(_calls(shards, placed, call_bytes)),
        resolution=resolution,
        options=options,
        max_input_length=max_input_length,
        family=family,
    )


def _shards(files: Sequence[SourceFile], shard_bytes: int) -> list[Shard]:
    """Byte ranges of about equal length. An array, CSV, text or compressed file is one shard: where its rows start is
    not known before it is read, and one invocation can read several gigabytes.
    """
    shards: list[Shard] = []
    for number, file in enumerate(files):
        if file.side is Side.LEFT_OUT:
            continue
        pieces = -(-file.size // shard_bytes) if file.detection.splittable else 1
        cuts = [file.size * piece // pieces for piece in range(pieces)]
        for start, end in zip(cuts, [*cuts[1:], None], strict=True):
            shards.append(Shard(number=len(shards), file=number, start=start, end=end))
    return shards


def _calls(shards: Sequence[Shard], files: Sequence[SourceFile], call_bytes: int) -> Iterator[int]:
    """The first shard of each call; the shards of one have `call_bytes` together, or it is one alone."""
    in_call = 0
    for shard in shards:
        size = (files[shard.file].size if shard.end is None else shard.end) - shard.start
        if shard.number == 0 or in_call + size > call_bytes:
            yield shard.number
            in_call = 0
        in_call += size
