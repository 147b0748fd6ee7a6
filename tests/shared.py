"""Reference files next to the checkout; tests that need them are skipped without them."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the reference files are not next to this checkout"
)
