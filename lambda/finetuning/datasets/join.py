"""Joins what the shards wrote to the two channels that JumpStart takes, and reports on all rows.

Rows that an earlier shard has too are dropped by their digests. The first one is kept, as if one shard had read all
rows. Outputs of shards are joined by copying; only an output that loses a row is read again.
"""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from operator import itemgetter, or_

import orjson

from finetuning.datasets.conversion import characters_of, turns_of
from finetuning.datasets.dataset_report import DatasetReport, NearDuplicates, build_report, refusal_report
from finetuning.datasets.held_out import cut_tail, split, text_lines
from finetuning.datasets.limits import MAX_COMPARED, MAX_DIGESTED
from finetuning.datasets.marked_text import has_special_token
from finetuning.datasets.near_duplicates import find_near_rows
from finetuning.datasets.outputs import Output, find_duplicates
from finetuning.datasets.preparation import Preparation
from finetuning.datasets.scripts import script_of
from finetuning.datasets.shard import DIGESTS_AT_ONCE, read_results
from finetuning.datasets.shard_result import TEST, TRAIN, VALIDATION, ShardResult, Tally
from finetuning.datasets.sides import Side
from finetuning.datasets.templates import TEMPLATE_FILE
from finetuning.datasets.token_budget import lines_within_budget, row_costs, rows_over_budget
from finetuning.datasets.token_sample import TokenSample, length_classes
from finetuning.datasets.workspace import BUFFER, Piece, Workspace


def join_shards(
    preparation: Preparation, workspace: Workspace, shards: str, dataset: str, at_once: int = DIGESTS_AT_ONCE
) -> DatasetReport:
    """Writes the channels `train/` and `validation/` under the prefix `dataset` and returns the report.

    If the report refuses the data, nothing is written. A channel has one data file, and template.json for an
    instruction dataset. Without validation rows there is no validation channel. The upload's own test rows are written
    to `test/`, which only the evaluation reads. `shards`: the prefix of the shards; `at_once`: digests that are held in
    memory, `BYTES_OF_A_DIGEST` each, which changes nothing but the time.
    """
    if preparation.resolution.refusal:
        return refusal_report(preparation)
    return _Join(preparation, workspace, shards, dataset, at_once).run()


def training_digests(preparation: Preparation, workspace: Workspace, dataset: str) -> dict[str, str]:
    """The SHA-256 of each file of the training channel that `join_shards` wrote, by its name, but for a file of more
    than `MAX_DIGESTED` bytes.

    The files are read for it: S3 joined them from the shards' outputs, and digests of parts cannot be combined.
    """
    digests = {}
    for name in (preparation.data_file, *([TEMPLATE_FILE] if preparation.template else [])):
        key, digest = f"{dataset}{TRAIN}/{name}", sha256()
        if workspace.size(key) > MAX_DIGESTED:
            continue
        with workspace.open(key) as file:
            while block := file.read(BUFFER):
                digest.update(block)
        digests[name] = digest.hexdigest()
    return digests


@dataclass
class _Join:
    preparation: Preparation
    workspace: Workspace
    shards: str
    dataset: str
    at_once: int
    results: list[ShardResult] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    sample: TokenSample = field(default_factory=TokenSample)

    def run(self) -> DatasetReport:
        for result in read_results(self.preparation, self.workspace, self.shards):
            self.tally.add(result.tally)
            self.sample.add(result.sample, self.preparation.row_limit)
            self.results.append(result.model_copy(update={"sample": TokenSample()}))
        is_text = self.preparation.is_text
        for shard, result in zip(self.preparation.shards, self.results, strict=True):
            self._count_side(self.preparation.files[shard.file].side, TRAIN if is_text else VALIDATION, result)
        near = None
        if is_text:
            channels = self._cut_text()
        else:
            outputs = self._rows()
            self._drop_duplicates(outputs)
            near = self._compare(outputs)
            self._keep_budget(outputs[TRAIN])
            moved = self._fill_empty_side(outputs)
            channels = {
                channel: [*(piece for output in written for piece in output.pieces()), *moved[channel]]
                for channel, written in outputs.items()
            }
        report = build_report(self.preparation, self.results, self.tally, self.sample, near)
        if report.ok:
            self._write(channels)
        return report

    def _count_side(self, side: Side, written: str, result: ShardResult) -> None:
        """Counts rows of a file for validation or tests in its channel; its shard wrote them all to another one."""
        channel = {Side.VALIDATION: VALIDATION, Side.TEST: TEST}.get(side, written)
        if channel != written:
            self.tally.move(written, channel, result.tally.lengths[written])

    def _rows(self) -> dict[str, list[Output]]:
        """What the shards wrote for each channel, in order."""
        return {
            TRAIN: self._outputs(TRAIN, Side.SPLIT, Side.TRAIN),
            VALIDATION: self._outputs(VALIDATION, Side.SPLIT, Side.VALIDATION),
            TEST: self._outputs(VALIDATION, Side.TEST),
        }

    def _outputs(self, channel: str, *sides: Side) -> list[Output]:
        return [
            Output(self.workspace, self.shards + shard.key + channel, **dict(result.written[channel]))
            for shard, result in zip(self.preparation.shards, self.results, strict=True)
            if self.preparation.files[shard.file].side in sides
        ]

    def _drop_duplicates(self, outputs: dict[str, list[Output]]) -> None:
        """Drops rows that an earlier shard has, or that their own shard has twice. The rows of a split are in one
        channel if they are equal, so its channels need not be compared.
        """
        if len(self.preparation.shards) == 1 and self.tally.kept <= DIGESTS_AT_ONCE:
            return
        # A row that is also held out by its file would be learned, so it stays on that side.
        groups = [(TEST, VALIDATION, TRAIN)] if self.preparation.has_own_split else [(TRAIN,), (VALIDATION,)]
        for channels in groups:
            of_group = [output for channel in channels for output in outputs[channel]]
            for output, gone in zip(of_group, find_duplicates(of_group, self.at_once), strict=True):
                self._take_out(output, next(each for each in channels if output in outputs[each]), gone, duplicates=1)

    def _compare(self, outputs: dict[str, list[Output]]) -> NearDuplicates | None:
        """Counts near-duplicates, and drops them from the training rows if run.json says so."""
        rows = sum(output.rows for written in outputs.values() for output in written)
        if not self.preparation.compares_rows or rows > MAX_COMPARED:
            return None
        held_out = [*outputs[TEST], *outputs[VALIDATION]]
        near = find_near_rows(held_out, outputs[TRAIN], DIGESTS_AT_ONCE)
        in_training = near[len(held_out) :]
        found = NearDuplicates(
            repeated=sum(rows.repeated.count(1) for rows in in_training),
            near_held_out=sum(rows.leaked.count(1) for rows in in_training),
            leaked=sum(rows.leaked.count(1) for rows in near[: len(held_out)]),
        )
        if self.preparation.drops_near_duplicates:
            for output, flags in zip(outputs[TRAIN], in_training, strict=True):
                found.dropped += self._take_out(output, TRAIN, bytes(map(or_, *flags)), dropped=1)
        return found

    def _keep_budget(self, training: list[Output]) -> None:
        """Drops training rows until they have no more tokens than run.json allows."""
        if budget := self.preparation.options.data.max_tokens:
            costs = row_costs(self.sample, self.preparation.row_limit)
            for output, gone in zip(training, rows_over_budget(training, costs, budget), strict=True):
                self._take_out(output, TRAIN, gone, dropped=1, over_budget=1)

    def _take_out(self, output: Output, channel: str, gone: bytes | bytearray, **counted_as: int) -> int:
        """Drops rows, subtracts them from the statistics, and counts them as what is said. Returns how many."""
        for line in output.lines(gone):
            row = orjson.loads(line)
            counted = Tally(
                turns=len(turns_of(row)),
                characters=characters_of(row),
                scripts=Counter({script_of(line): 1}),
                special_tokens=int(has_special_token(line)),
            )
            self.tally.add(counted, times=-1)
            self.tally.add(Tally(**counted_as))
            self.tally.count(channel, [len(line)], times=-1)
        output.drop(gone)
        return gone.count(1)

    def _fill_empty_side(self, outputs: dict[str, list[Output]]) -> dict[str, list[Piece]]:
        """If there are at least two rows to split, each channel gets one: the row with the smallest or largest digest
        moves. A single row is trained on.
        """
        tally = self.tally
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
                for ordinal, digest in output.digests()
                if output.kept[ordinal]
            ),
            key=itemgetter(0),
        )
        chosen = bytearray(output.rows)
        chosen[ordinal] = 1
        (line,) = output.lines(chosen)
        output.drop(chosen)
        tally.move(of, to, Counter(length_classes([len(line)])))
        key = self.shards + "moved"
        with self.workspace.create(key) as file:
            file.write(line)
        moved[to] = [Piece(key, 0, len(line))]
        return moved

    def _cut_text(self) -> dict[str, list[Piece]]:
        """The pieces of each channel for a text: its end is held out, unless a file of its own is."""
        pieces, held_out, tests = (
            [piece for output in self._outputs(TRAIN, *sides) for piece in output.pieces()]
            for sides in ((Side.SPLIT, Side.TRAIN), (Side.VALIDATION,), (Side.TEST,))
        )
        if self.tally.train > 1 and self.preparation.holds_out:
            pieces, held_out = cut_tail(pieces, self.preparation.options.validation_fraction, self.workspace)
            lines = text_lines(held_out, self.workspace)
            self.tally.move(
                TRAIN, VALIDATION, Counter(length_classes(len(line) for line in lines if not line.isspace()))
            )
        return {TRAIN: self._keep_beginning(pieces), VALIDATION: held_out, TEST: tests}

    def _keep_beginning(self, text: list[Piece]) -> list[Piece]:
        """As much of a text as run.json allows."""
        budget = self.preparation.options.data.max_tokens
        if not budget:
            return text
        costs = row_costs(self.sample, self.preparation.row_limit)
        kept, rest = split(text, lines_within_budget(text_lines(text, self.workspace), costs, budget))
        for line in text_lines(rest, self.workspace):
            if not line.isspace():
                counted = Tally(characters=len(line.decode()), scripts=Counter({script_of(line): 1}))
                self.tally.add(counted, times=-1)
                self.tally.add(Tally(dropped=1, over_budget=1))
                self.tally.count(TRAIN, [len(line)], times=-1)
        return kept

    def _write(self, channels: dict[str, list[Piece]]) -> None:
        for channel, pieces in channels.items():
            if sum(piece.end - piece.start for piece in pieces):
                folder = f"{self.dataset}{channel}/"
                self.workspace.assemble(folder + self.preparation.data_file, pieces)
                if self.preparation.template:
                    with self.workspace.create(folder + TEMPLATE_FILE) as file:
                        file.write(orjson.dumps(self.preparation.template))
