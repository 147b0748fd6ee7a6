"""Reference files kept beside the checkout; tests that read them skip where they are absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the reference files are not beside this checkout"
)
