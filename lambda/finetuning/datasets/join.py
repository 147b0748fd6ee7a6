"""Joins what the shards wrote to the two channels that JumpStart takes, and reports on all rows.

Rows that an earlier shard has too are dropped by their digests. The first one is kept, as if one shard had read all
rows. Outputs of shards are joined by copying; only an output that loses a row is read again.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import compress
from operator import itemgetter

import orjson

from finetuning.datasets.conversion import characters_of, turns_of
from finetuning.datasets.dataset_report import DatasetReport, build_report, refusal_report
from finetuning.datasets.held_out import cut_tail, text_lines
from finetuning.datasets.marked_text import has_special_token
from finetuning.datasets.preparation import Preparation, Shard
from finetuning.datasets.scripts import script_of
from finetuning.datasets.shard import (
    DIGEST_BYTES,
    DIGESTS,
    DIGESTS_AT_ONCE,
    read_results,
)
from finetuning.datasets.shard_result import TEST, TRAIN, VALIDATION, ShardResult, Tally
from finetuning.datasets.sides import Side
from finetuning.datasets.templates import TEMPLATE_FILE
from finetuning.datasets.token_sample import TokenSample, length_classes
from finetuning.datasets.workspace import BUFFER, Piece, Workspace

MAX_PASSES = 256
"""Passes over all digests; each takes those with some values of the last byte. For more than 150 million rows a pass
takes more memory instead."""


def join_shards(preparation: Preparation, workspace: Workspace, shards: str, dataset: str) -> DatasetReport:
    """Writes the channels `train/` and `validation/` under the prefix `dataset` and returns the report.

    If the report refuses the data, nothing is written. A channel has one data file, and template.json for an
    instruction dataset. Without validation rows there is no validation channel. The upload's own test rows are written
    to `test/`, which only the evaluation reads. `shards`: the prefix of the shards.
    """
    if preparation.resolution.refusal:
        return refusal_report(preparation)
    return _Join(preparation, workspace, shards, dataset).run()


def training_digests(preparation: Preparation, workspace: Workspace, dataset: str) -> dict[str, str]:
    """The SHA-256 of each file of the training channel that `join_shards` wrote, by its name.

    The files are read for it: S3 joined them from the shards' outputs, and digests of parts cannot be combined.
    """
    digests = {}
    for name in (preparation.data_file, *([TEMPLATE_FILE] if preparation.template else [])):
        digest = sha256()
        with workspace.open(f"{dataset}{TRAIN}/{name}") as file:
            while block := file.read(BUFFER):
                digest.update(block)
        digests[name] = digest.hexdigest()
    return digests


@dataclass
class _Output:
    """What a shard wrote for a channel, and the ordinals of the rows in it that are dropped."""

    key: str
    dropped: set[int] = field(default_factory=set)


@dataclass
class _Join:
    preparation: Preparation
    workspace: Workspace
    shards: str
    dataset: str

    def run(self) -> DatasetReport:
        tally, sample, results = Tally(), TokenSample(), []
        for result in read_results(self.preparation, self.workspace, self.shards):
            tally.add(result.tally)
            sample.add(result.sample, self.preparation.row_limit)
            results.append(result.model_copy(update={"sample": TokenSample()}))
        is_text = self.preparation.is_text
        for shard, result in zip(self.preparation.shards, results, strict=True):
            self._count_side(self.preparation.files[shard.file].side, TRAIN if is_text else VALIDATION, result, tally)
        channels = self._cut_text(tally) if is_text else self._join_rows(tally)
        report = build_report(self.preparation, results, tally, sample)
        if report.ok:
            self._write(channels)
        return report

    def _count_side(self, side: Side, written: str, result: ShardResult, tally: Tally) -> None:
        """Counts rows of a file for validation or tests in its channel; its shard wrote them all to another one."""
        channel = {Side.VALIDATION: VALIDATION, Side.TEST: TEST}.get(side, written)
        if channel != written:
            tally.move(written, channel, result.tally.lengths[written])

    def _join_rows(self, tally: Tally) -> dict[str, list[Piece]]:
        """The pieces of each channel: the outputs of all shards in order, without rows that an earlier one has."""
        prepared = self.preparation
        outputs = {
            TRAIN: self._outputs(prepared.shards_of(Side.SPLIT, Side.TRAIN), TRAIN),
            VALIDATION: self._outputs(prepared.shards_of(Side.SPLIT, Side.VALIDATION), VALIDATION),
            TEST: self._outputs(prepared.shards_of(Side.TEST), VALIDATION),
        }
        if len(prepared.shards) > 1 or tally.kept > DIGESTS_AT_ONCE:
            # A row that is also held out by its file would be learned, so it stays on that side.
            groups = [(TEST, VALIDATION, TRAIN)] if prepared.has_own_split else [(TRAIN,), (VALIDATION,)]
            for channels in groups:
                self._drop_duplicates({channel: outputs[channel] for channel in channels}, tally)
        moved = self._fill_empty_side(outputs, tally)
        return {channel: [*map(self._piece, outputs[channel]), *moved[channel]] for channel in outputs}

    def _outputs(self, shards: Sequence[Shard], written: str) -> list[_Output]:
        return [_Output(self.shards + shard.key + written) for shard in shards]

    def _drop_duplicates(self, channels: Mapping[str, Sequence[_Output]], tally: Tally) -> None:
        """Marks rows that an earlier shard has, or that their own shard has twice. The rows of a split are in one
        channel if they are equal, so its channels need not be compared.
        """
        outputs = [output for of_channel in channels.values() for output in of_channel]
        rows = sum(self.workspace.size(output.key + DIGESTS) for output in outputs) // DIGEST_BYTES
        passes = min(-(-rows // DIGESTS_AT_ONCE), MAX_PASSES)
        for number in range(passes):
            seen: set[bytes] = set()
            for output in outputs:
                for ordinal, digest in self._digests(output, number, passes):
                    if digest in seen:
                        output.dropped.add(ordinal)
                    seen.add(digest)
        for channel, of_channel in channels.items():
            for output in of_channel:
                if output.dropped:
                    self._take_out(output, channel, tally)

    def _digests(self, output: _Output, number: int = 0, passes: int = 1) -> Iterator[tuple[int, bytes]]:
        """The digests of an output that this pass takes, with the ordinals of their rows."""
        due = bytes(byte % passes == number for byte in range(256))
        first = 0
        with self.workspace.open(output.key + DIGESTS) as file:
            while block := file.read(DIGEST_BYTES << 12):
                ends = block[DIGEST_BYTES - 1 :: DIGEST_BYTES]
                for at in compress(range(len(ends)), ends.translate(due)):
                    yield first + at, block[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]
                first += len(ends)

    def _take_out(self, output: _Output, channel: str, tally: Tally) -> None:
        """Subtracts dropped rows from the statistics, and counts them as duplicates."""
        for line in self._lines(output, output.dropped):
            row = orjson.loads(line)
            counted = Tally(
                turns=len(turns_of(row)),
                characters=characters_of(row),
                scripts=Counter({script_of(line): 1}),
                special_tokens=int(has_special_token(line)),
                duplicates=-1,
            )
            tally.add(counted, times=-1)
            tally.count(channel, [len(line)], times=-1)

    def _lines(self, output: _Output, ordinals: Collection[int]) -> Iterator[bytes]:
        with self.workspace.open(output.key) as file:
            yield from (line for ordinal, line in enumerate(file) if ordinal in ordinals)

    def _fill_empty_side(self, outputs: dict[str, list[_Output]], tally: Tally) -> dict[str, list[Piece]]:
        """If there are at least two rows to split, each channel gets one: the row with the smallest or largest digest
        moves. A single row is trained on.
        """
        moved: dict[str, list[Piece]] = {TRAIN: [], VALIDATION: [], TEST: []}
        rows = tally.train + tally.validation
        enough = not rows or (tally.train and (tally.validation or rows == 1))
        if enough or not self.preparation.holds_out:
            return moved
        of, to, outermost = (TRAIN, VALIDATION, min) if tally.train else (VALIDATION, TRAIN, max)
        _, ordinal, output = outermost(
            (
                (digest, ordinal, output)
                for output in outputs[of]
                for ordinal, digest in self._digests(output)
                if ordinal not in output.dropped
            ),
            key=itemgetter(0),
        )
        (line,) = self._lines(output, {ordinal})
        output.dropped.add(ordinal)
        tally.move(of, to, Counter(length_classes([len(line)])))
        key = self.shards + "moved"
        with self.workspace.create(key) as file:
            file.write(line)
        moved[to] = [Piece(key, 0, len(line))]
        return moved

    def _piece(self, output: _Output) -> Piece:
        """A shard's output; a copy without the dropped rows, if there are any."""
        key = output.key
        if output.dropped:
            key += ".unique"
            with self.workspace.open(output.key) as source, self.workspace.create(key) as into:
                into.writelines(line for ordinal, line in enumerate(source) if ordinal not in output.dropped)
        return Piece(key, 0, self.workspace.size(key))

    def _cut_text(self, tally: Tally) -> dict[str, list[Piece]]:
        """The pieces of each channel for a text: its end is held out, unless a file of its own is."""
        pieces, held_out, tests = (
            [self._piece(output) for output in self._outputs(self.preparation.shards_of(*sides), TRAIN)]
            for sides in ((Side.SPLIT, Side.TRAIN), (Side.VALIDATION,), (Side.TEST,))
        )
        if tally.train < 2 or not self.preparation.holds_out:
            return {TRAIN: pieces, VALIDATION: held_out, TEST: tests}
        train, validation = cut_tail(pieces, self.preparation.options.validation_fraction, self.workspace)
        lines = text_lines(validation, self.workspace)
        tally.move(TRAIN, VALIDATION, Counter(length_classes(len(line) for line in lines if not line.isspace())))
        return {TRAIN: train, VALIDATION: validation, TEST: tests}

    def _write(self, channels: dict[str, list[Piece]]) -> None:
        for channel, pieces in channels.items():
            if sum(piece.end - piece.start for piece in pieces):
                folder = f"{self.dataset}{channel}/"
                self.workspace.assemble(folder + self.preparation.data_file, pieces)
                if self.preparation.template:
                    with self.workspace.create(folder + TEMPLATE_FILE) as file:
                        file.write(orjson.dumps(self.preparation.template))
