"""A batch that is prepared at once gives the same result as its rows one by one."""

import json
import sys
from pathlib import Path

import orjson
import pytest

from finetuning.datasets import offline
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions
from finetuning.datasets.plain_batches import PlainBatches, alternate
from tests.builders.datasets import any_chat_rows, any_dialog, any_file, any_turn, as_lines, channel

TURNS = b'{"role": "user", "content": "Hello"}', b'{"role": "assistant", "content": "Good day"}'
PECULIAR: dict[str, list[bytes]] = {
    "nothing": [],
    "a blank line": [b""],
    "no JSON": [b"garbage"],
    "a row over two lines, and two on another": [
        b'{"messages": [%b' % TURNS[0],
        b"%b]}" % TURNS[1],
        b'{"messages": [%b, %b]}, {"messages": [%b, %b]}' % (*TURNS, *TURNS),
    ],
    "a key that is there twice": [b'{"messages": [], "messages": [%b, %b]}' % TURNS],
    "a content that is there twice": [
        b'{"messages": [{"role": "user", "content": "?", "content": "!"}, %b]}' % TURNS[1]
    ],
    "a NUL": [json.dumps({"messages": [any_turn("user", "a\0b"), any_turn("assistant")]}).encode()],
    "what looks like a NUL": [json.dumps({"messages": [any_turn("user", "\\u0000"), any_turn("assistant")]}).encode()],
    "half a character": [b'{"messages": [{"role": "user", "content": "\\ud83d"}, %b]}' % TURNS[1]],
    "a system turn": [json.dumps({"messages": [any_turn("system"), *any_dialog()]}).encode()],
    "an empty content": [json.dumps({"messages": [any_turn(), any_turn("assistant", " \n")]}).encode()],
    "no content": [json.dumps({"messages": [any_turn(), any_turn("assistant", "")]}).encode()],
    "a content that is no text": [b'{"messages": [%b, {"role": "assistant", "content": 7}]}' % TURNS[0]],
    "two users": [json.dumps({"messages": [any_turn(), any_turn()]}).encode()],
    "roles that alternate over two rows": [
        json.dumps({"messages": [any_turn(), any_turn("assistant"), any_turn()]}).encode(),
        json.dumps({"messages": [any_turn("assistant"), any_turn(), any_turn("assistant")]}).encode(),
    ],
    "another order of keys": [b'{"messages": [{"content": "Hello", "role": "user"}, %b]}' % TURNS[1]],
    "another column": [json.dumps({"dialog": any_dialog("chai")}).encode()],
    "another key": [json.dumps({"messages": any_dialog(), "id": 7}).encode()],
    "no turns": [b'{"messages": []}'],
    "duplicates": [json.dumps({"messages": any_dialog(3)}).encode()] * 2,
    "escapes": [json.dumps({"messages": any_dialog('Grüß \\u00e9 / \x07 😀 "')}).encode().replace(b"/", b"\\/")],
    "a broken escape": [b'{"messages": [{"role": "user", "content": "\\x"}, %b]}' % TURNS[1]],
    "bytes that are no text": [b'{"messages": [{"role": "user", "content": "\xff"}, %b]}' % TURNS[1]],
    "other names of the roles": [
        json.dumps({"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]}).encode()
    ],
    "other scripts": [
        json.dumps({"messages": any_dialog(word)}).encode() for word in ("чай" * 90, "茶" * 200, "お茶" * 90)
    ],
    "a long row": [json.dumps({"messages": any_dialog("tea " * 900)}).encode()],
    "rows as long as the buffer": [json.dumps({"messages": any_dialog(f"{n} tea " * 200)}).encode() for n in range(3)],
}


@pytest.mark.parametrize("peculiar", PECULIAR)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_batches_give_the_rows_and_the_report_of_the_inner_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peculiar: str, line_end: bytes
) -> None:
    rows = as_lines(any_chat_rows(400)).splitlines()
    at = 0 if peculiar == "rows as long as the buffer" else 200
    rows[at:at] = PECULIAR[peculiar]
    path = any_file(tmp_path, line_end.join([*rows, b""]))
    monkeypatch.setattr(offline, "BUFFER", 2048)
    taken: list[int] = []
    find = PlainBatches.find

    def counted(self: PlainBatches, records: list[bytes]) -> object:
        batch = find(self, records)
        taken.append(len(records) if batch else 0)
        return batch

    options = DataOptions(max_error_fraction=1)

    def prepared(name: str) -> tuple[object, bytes, bytes]:
        report = prepare_files([path], tmp_path / name / "out", options=options, max_input_length=20)
        return report, channel(tmp_path / name, "train"), channel(tmp_path / name, "validation")

    monkeypatch.setattr(PlainBatches, "find", counted)
    at_once = prepared("at-once")
    monkeypatch.setattr(PlainBatches, "find", lambda self, records: None)
    assert at_once == prepared("one-by-one")
    assert sum(taken) > 100


LINE = b'{"messages": [%b, %b]}\n' % TURNS
LOST = len(LINE) - len(
    b'{"dialog":[%b,%b]}\n' % tuple(turn.replace(b": ", b":").replace(b", ", b",") for turn in TURNS)
)


def any_plain_batches(*layouts: tuple[int, int]) -> PlainBatches:
    """Finds batches of rows written like `LINE`."""
    batches = PlainBatches({(LOST, 2), *layouts}, set())
    batches.learn({"messages": []})
    return batches


def test_a_plain_batch_comes_with_its_counts() -> None:
    found = any_plain_batches().find([LINE, LINE.replace(b"Hello", "Grüß dich".encode())])
    assert found
    assert (found.keys, found.turns, found.characters) == (("messages",), [2, 2], len("HelloGood dayGrüß dichGood day"))
    assert json.loads(found.written[1])["dialog"][0] == {"role": "user", "content": "Grüß dich"}


def test_every_character_is_written_as_the_inner_loop_writes_it() -> None:
    every = "".join(chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    dialog = [any_turn("user", every), any_turn("assistant")]
    record, written = orjson.dumps({"messages": dialog}) + b"\n", orjson.dumps({"dialog": dialog}) + b"\n"
    found = any_plain_batches((len(record) - len(written), 2)).find([record])
    assert found
    assert found.written == [written]


def test_a_row_over_two_lines_is_not_plain() -> None:
    over_two_lines = [row + b"\n" for row in PECULIAR["a row over two lines, and two on another"]]
    assert any_plain_batches().find(over_two_lines) is None


def test_a_batch_with_a_duplicate_is_not_plain() -> None:
    other, third = LINE.replace(b"Hello", b"Howdy"), LINE.replace(b"Hello", b"Hi")
    batches = any_plain_batches()
    assert batches.find([LINE, LINE]) is None
    batches = any_plain_batches()
    assert batches.find([LINE, other])
    assert batches.find([other, third]) is None


@pytest.mark.parametrize("extra", [b'"id": "7"}', b'"messages": []}', b'"messages": "Hello"}'])
def test_a_row_with_another_column_is_not_plain(extra: bytes) -> None:
    row = LINE.replace(b"}]}", b"}], " + extra)
    assert any_plain_batches((LOST + len(row) - len(LINE), 2)).find([row]) is None


def test_a_turn_with_another_key_is_not_plain() -> None:
    row = LINE.replace(b"}]}", b', "weight": 1}]}')
    assert any_plain_batches((LOST + len(row) - len(LINE), 2)).find([row]) is None


def test_rows_with_a_system_turn_are_plain() -> None:
    system = LINE.replace(b"[", b'[{"role": "system", "content": "Be polite"}, ')
    lost = len(system) - len(b'{"role":"system","content":"Be polite"},') - len(LINE) + LOST
    found = any_plain_batches((lost, 3)).find([LINE, system])
    assert found
    assert found.turns == [2, 3]


def test_fewer_batches_are_tried_while_none_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = any_plain_batches()
    tried: list[int] = []
    monkeypatch.setattr(PlainBatches, "_read", lambda self, records: tried.append(records[0]))
    for number in range(100):
        batches.find([number])
    assert tried == [0, 2, 6, 14, 30, 62]


def test_each_dialog_must_alternate() -> None:
    assert alternate(["user", "assistant"] * 3, [2, 4])
    assert not alternate(["user", "assistant"] * 3, [3, 3])
    assert not alternate(["user", "assistant"], [2, 0])
    assert not alternate(["assistant", "user"], [2])
    assert alternate(["system", "user", "assistant", "user", "assistant"], [3, 2])
    assert not alternate(["system"], [1])
    assert not alternate(["system", "system", "user", "assistant"], [4])
    assert not alternate(["user", "assistant", "system", "user", "assistant", "user"], [5, 1])
    assert not alternate(["user", "system", "assistant"], [3])
