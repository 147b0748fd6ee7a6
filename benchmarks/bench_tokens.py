"""`make bench-tokens`: how far the estimate of tokens is from counting every row, and what it costs.

The texts are real: the translations of Django in seven languages, the source of Python's standard library, and the
JSON documents of facts/ with numbers of all sizes. Rows are chats made of them, short and long ones mixed. The last
column is what `BYTES_PER_TOKEN` has to say for the script.
"""

import gettext
import io
import random
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch
from zipfile import ZipFile

import orjson
from rich.console import Console
from rich.table import Table

from finetuning.datasets import shard, tokens
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.scripts import script_of
from finetuning.datasets.templates import rendered
from finetuning.datasets.token_sample import TokenSample
from finetuning.datasets.tokens import FactorCounter, counter_for
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from finetuning_cdk.vocabulary import downloaded_wheel

PROJECT = Path(__file__).resolve().parents[1]
ROWS = 150_000
BAR_ERROR, BAR_TIME = 0.03, 1.2
LANGUAGES = {
    "English": "en",
    "German": "de",
    "Russian": "ru",
    "Chinese": "zh_Hans",
    "Japanese": "ja",
    "Arabic": "ar",
    "Hindi": "hi",
}


def translations(wheel: ZipFile, language: str) -> list[str]:
    """The sentences of a language; those of English are the keys of another one."""
    code = "de" if language == "en" else language
    found: set[str] = set()
    for name in wheel.namelist():
        if f"/locale/{code}/" in name and name.endswith("django.mo"):
            catalogue = gettext.GNUTranslations(io.BytesIO(wheel.read(name)))
            for key, text in catalogue._catalog.items():  # type: ignore[attr-defined] # no other way to list them
                sentence = (key[0] if isinstance(key, tuple) else key) if language == "en" else text
                if len(sentence.encode()) > 24:
                    found.add(sentence.split("\x04")[-1])
    return sorted(found)


def code_lines() -> list[str]:
    folder = Path(sysconfig.get_path("stdlib"))
    files = ("argparse", "ast", "difflib", "functools", "inspect", "tarfile", "typing", "zipfile/__init__")
    blocks = [
        block
        for name in files
        if (file := folder / f"{name}.py").is_file()
        for block in file.read_text(encoding="utf-8").split("\n\n")
    ]
    return sorted({block for block in blocks if 24 < len(block) < 2000})


def json_with_numbers(chance: random.Random) -> list[str]:
    documents = [orjson.dumps(orjson.loads(file.read_bytes())).decode() for file in PROJECT.glob("facts/*.json")]
    pieces = [text[at : at + 120] for text in documents for at in range(0, len(text), 120)]
    tables = [
        orjson.dumps({"id": chance.randrange(10**9), "x": chance.random(), "y": [chance.gauss(0, 50) for _ in "abc"]})
        for _ in range(2000)
    ]
    return sorted({*pieces[:500], *(table.decode() for table in tables)})


def write_rows(path: Path, texts: list[str], short: bool) -> None:
    """Chats whose answers are a few of the texts; lengths as skewed as people's are, or all about 200 bytes."""
    chance = random.Random(len(texts))  # noqa: S311 - texts, not secrets
    with path.open("wb") as file:
        for number in range(ROWS if short else ROWS // 15):
            size = 100 if short else min(chance.lognormvariate(6.5, 1), 30_000)
            answer = ""
            while len(answer.encode()) < size:
                answer += chance.choice(texts) + " "
            messages = [
                {"role": "user", "content": f"{number} {chance.choice(texts)[:60]}"},
                {"role": "assistant", "content": answer},
            ]
            file.write(orjson.dumps({"messages": messages}, None, orjson.OPT_APPEND_NEWLINE))


class Nothing:
    """Stands in for the sample, to measure the time without it."""

    def __init__(self, count_row: Callable[[bytes], int], limit: int) -> None:
        self.offer = lambda digests, rows, classes: None

    def counted(self) -> TokenSample:
        return TokenSample()


def prepared(path: Path) -> tuple[int, float]:
    """The tokens of the report, and the CPU seconds."""
    started = time.process_time()
    report = prepare_files([path])
    return report.statistics.tokens, time.process_time() - started


def measured(path: Path) -> Iterator[float]:
    """Error of the estimate, of the factor, of four bytes per token; ratio of the times; bytes per token."""
    counter, factor, family = counter_for(DEFAULT_FAMILY.name), FactorCounter(), DEFAULT_FAMILY.name
    whole = by_factor = size = read = specials = 0
    for line in path.read_bytes().splitlines():
        text = rendered({"dialog": orjson.loads(line)["messages"]}, None, family)
        whole += counter.count(text)
        by_factor += factor.count(text)
        size += len("".join(tokens.SPECIAL.split(text)).encode())
        specials += len(tokens.SPECIAL.findall(text))
        read += len(line)
    with patch.object(shard, "Sampler", Nothing):
        without = min(prepared(path)[1] for _ in range(2))
    runs = [prepared(path) for _ in range(2)]
    yield runs[0][0] / whole - 1
    yield by_factor / whole - 1
    yield read / 4 / whole - 1
    yield min(seconds for _, seconds in runs) / without
    yield size / (whole - specials)


def main() -> int:
    chance = random.Random(1)  # noqa: S311 - numbers, not secrets
    with downloaded_wheel(Path(__file__).with_name("texts.txt")) as wheel:
        texts = {name: translations(wheel, language) for name, language in LANGUAGES.items()}
    texts |= {"code": code_lines(), "JSON with numbers": json_with_numbers(chance)}
    columns = ("Texts", "Rows", "Script", "Error", "Factor's error", "4 bytes' error", "Time", "Bytes per token")
    table, missed = Table(*columns), False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.jsonl"
        for name, sentences in texts.items():
            for short in (True, False):
                write_rows(path, sentences, short)
                script = script_of("".join(sentences[:50]).encode())
                error, by_factor, by_four, ratio, bytes_per_token = measured(path)
                good = abs(error) <= BAR_ERROR and (ratio <= BAR_TIME or not short)
                missed = missed or not good
                shares = (f"{share:+.1%}" for share in (error, by_factor, by_four))
                rows = "200 B" if short else "mixed"
                table.add_row(
                    name, rows, script, *shares, f"{ratio:.2f}" + ("" if good else " missed"), f"{bytes_per_token:.2f}"
                )
    Console(width=120).print(table)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
