"""The tiny base model. The tests beside it need requirements-trainer.txt and are skipped elsewhere."""

from pathlib import Path

import pytest

from rehearsal.trainer.weights import base_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model's folder."""
    return base_model("tiny", tmp_path_factory.mktemp("cache"))
