"""How tokens are counted, and what a sample of the rows says of all of them."""

import importlib.util
import json
import os
import random
from pathlib import Path
from sys import maxsize

import pytest
from xxhash import xxh3_128_digest

from finetuning.datasets import tokens
from finetuning.datasets.limits import ENCODED_AT_ONCE
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.scripts import script_of
from finetuning.datasets.templates import rendered
from finetuning.datasets.token_sample import (
    PER_CLASS,
    Sampler,
    TokenSample,
    estimate_tokens,
    length_classes,
    row_tokens,
    rows_counted,
)
from finetuning.datasets.tokens import (
    EXCERPT,
    EXCERPTS,
    count_by_excerpts,
    counter_for,
    how_counted,
)
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from tests.builders.datasets import any_chat_rows, as_lines, report_of

installed = importlib.util.find_spec("tiktoken") and importlib.util.find_spec("llama3_vocabulary")
with_vocabulary = pytest.mark.skipif(
    not installed and not os.environ.get("CI"), reason="`make setup` has not installed the vocabulary"
)


@with_vocabulary
@pytest.mark.parametrize(
    ("text", "count"),
    [
        # Meta's own test of its tokenizer: llama_models/llama3/tests/api/test_tokenizer.py
        ("This is a test sentence.", 6),
        ("<|begin_of_text|>This is a test sentence.<|end_of_text|>", 8),
        ("<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>", 6),
        ("1234567", 3),
        ("don't", 2),
    ],
)
def test_llamas_own_tokenizer_counts(text: str, count: int) -> None:
    counter = counter_for("Llama 3.1")
    assert how_counted("Llama 3.1") == "counted with the tokenizer of Llama 3.1"
    assert counter.count(text) == count


@with_vocabulary
@pytest.mark.parametrize("character", [" ", "a", "\n", "\u4e2d", "^"])
def test_a_text_that_overflows_tiktokens_stack_is_counted(character: str) -> None:
    counter = counter_for("Llama 3.1")
    part = counter.count(character * ENCODED_AT_ONCE)
    assert counter.count(character * 50 * ENCODED_AT_ONCE) == 50 * part > 0


def test_without_the_vocabulary_a_factor_counts_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "find_spec", lambda name: None)
    tokens.counter_for.cache_clear()
    try:
        counter = counter_for("Llama 3.1")
    finally:
        tokens.counter_for.cache_clear()
    assert "the vocabulary of Llama 3.1 is not installed" in how_counted("Llama 3.1")
    assert counter.count("word " * 100) == round(500 / tokens.BYTES_PER_TOKEN["Latin"])
    russian = "\u043c\u0438\u0440 " * 100
    assert script_of(russian.encode()) == "Cyrillic"
    assert counter.count(f"<|begin_of_text|>{russian}") == 1 + round(700 / tokens.BYTES_PER_TOKEN["Cyrillic"])


def test_a_very_long_text_is_estimated_by_excerpts_from_all_of_it() -> None:
    class Letters:
        asked = 0

        def count(self, text: str) -> int:
            self.asked += len(text)
            return text.count("b")

    counter = Letters()
    text = "a" * 1_000_000 + "b" * 1_000_000
    assert count_by_excerpts(counter, text) == 1_000_000
    assert counter.asked < 20_000
    assert count_by_excerpts(counter, "ab") == 1


@with_vocabulary
def test_one_word_of_megabytes_is_never_encoded_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counter = counter_for(DEFAULT_FAMILY.name)
    encoded: list[int] = []
    encode = counter._encode  # type: ignore[attr-defined]
    monkeypatch.setattr(counter, "_encode", lambda text, **how: encoded.append(len(text)) or encode(text, **how))
    rows = any_chat_rows(1)
    rows[0]["messages"][0]["content"] = "y" * 15_000_000
    path = tmp_path / "chat.jsonl"
    path.write_bytes(as_lines(rows))
    statistics = prepare_files([path]).statistics
    assert statistics.tokens == pytest.approx(15_000_000 / 4, rel=0.05)
    assert max(encoded) <= ENCODED_AT_ONCE
    assert sum(encoded) == EXCERPT * EXCERPTS


def test_the_classes_are_four_to_a_doubling() -> None:
    assert len(set(length_classes(range(256, 512)))) == 4
    assert length_classes([256]) != length_classes([255])
    short, long, near = length_classes([200, 4 << 20, 4000])
    assert rows_counted(short, limit=1000) == PER_CLASS
    assert rows_counted(long, limit=1000) == 16
    assert rows_counted(near, limit=1000) == 4 * rows_counted(near, limit=10_000) == 128


def any_rows(count: int, size: int = 100) -> list[bytes]:
    return [str(number).rjust(size).encode() for number in range(count)]


def sample_of(rows: list[bytes], shards: int) -> TokenSample:
    """The joined sample of rows dealt to so many shards; a row has as many tokens as its number has digits."""
    joined = TokenSample()
    for shard in range(shards):
        mine = rows[shard::shards]
        sampler = Sampler(lambda row: len(row.split()[0]), maxsize)
        for start in range(0, len(mine), 1000):
            batch = mine[start : start + 1000]
            sampler.offer(list(map(xxh3_128_digest, batch)), batch, length_classes(map(len, batch)))
        joined.add(TokenSample.model_validate_json(sampler.counted().model_dump_json()), maxsize)
    return joined


def test_the_sample_is_the_same_for_any_number_of_shards() -> None:
    rows = any_rows(5000) + any_rows(200, 150)
    one = sample_of(rows, 1)
    assert [len(counted) for counted in one.classes.values()] == [PER_CLASS, 200]
    for shards in (2, 8):
        assert sample_of(rows, shards) == one
        assert sample_of(rows + rows[:700], shards) == one


def test_all_rows_count_if_they_are_few_and_a_share_of_them_if_they_are_many() -> None:
    few, many = any_rows(200), any_rows(20_000)
    (length,) = set(length_classes(map(len, many)))
    exact = estimate_tokens(sample_of(few, 1), {"train": {length: 150}, "validation": {length: 50}}, limit=2)
    assert exact.tokens.total() == sum(len(row.split()[0]) for row in few) == 490
    assert (exact.truncated, dict(exact.histogram)) == (100, {1: 10, 2: 190})
    about = estimate_tokens(sample_of(many, 1), {"train": {length: 15_000}, "validation": {length: 5000}})
    assert about.tokens.total() == pytest.approx(sum(len(row.split()[0]) for row in many), rel=0.02)
    assert about.histogram.total() == 20_000
    assert about.trained == about.tokens["train"]


def test_a_row_that_was_not_counted_has_the_tokens_of_its_class() -> None:
    (length,) = length_classes([100])
    sample = TokenSample(classes={length: {"0" * 16: 10, "1" * 16: 20}})
    assert row_tokens(sample, 100, "1" * 32) == 20
    assert row_tokens(sample, 100, "2" * 32) == 15


def test_the_report_says_how_tokens_were_counted(tmp_path: Path) -> None:
    statistics = report_of(tmp_path, any_chat_rows(20)).statistics
    assert statistics.tokens_from == how_counted(DEFAULT_FAMILY.name)
    rows = [{"text": "word " * 30 + str(number)} for number in range(2000)]
    statistics = report_of(tmp_path, rows).statistics
    assert "in 256 of 2,000 rows" in statistics.tokens_from


def test_what_is_cut_off_is_not_trained(tmp_path: Path) -> None:
    rows = any_chat_rows(20)
    report = report_of(tmp_path, rows, max_input_length=10, validation_fraction=0)
    assert report.statistics.truncated == 20
    assert (report.statistics.trained_tokens, report.statistics.tokens > 400) == (200, True)


@with_vocabulary
def test_a_mixture_is_estimated_within_three_percent(tmp_path: Path) -> None:
    """Code, prose and numbers of all lengths, more rows than are counted."""
    chance = random.Random(5)
    source = Path(tokens.__file__).read_text()
    kinds = [
        lambda n: source[n : n + 40 + n % 700],
        lambda n: json.dumps([chance.random() for _ in range(1 + n % 40)]),
        lambda n: " ".join(chance.choices(["the", "harbour", "master", "keeps", "an", "old", "parrot"], k=9 + n % 90)),
    ]
    rows = [
        {"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": kinds[n % 3](n) + str(n)}]}
        for n in range(12_000)
    ]
    statistics = report_of(tmp_path, rows).statistics
    assert "rows, chosen by digest" in statistics.tokens_from
    count = counter_for(DEFAULT_FAMILY.name).count
    whole = sum(count(rendered({"dialog": row["messages"]}, None, DEFAULT_FAMILY.name)) for row in rows)
    assert statistics.tokens == pytest.approx(whole, rel=0.03)
