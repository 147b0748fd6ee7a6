"""A short, seeded run of the fuzzing of `make fuzz`."""

from pathlib import Path

import pytest

from tests.fuzz.broken_files import try_file

FILES = 150


@pytest.mark.parametrize("seed", [1000, 2000])
def test_broken_files_give_errors_with_codes_and_no_crash(tmp_path: Path, seed: int) -> None:
    assert sum(try_file(seed + number, tmp_path) for number in range(FILES)) > FILES
