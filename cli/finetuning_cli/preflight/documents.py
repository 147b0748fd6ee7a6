"""The JumpStart documents that this project keeps, or that another folder holds in the same layout."""

from pathlib import Path

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.spec import MANIFEST_KEY, ModelSpec, newest, read_manifest, read_spec, spec_key

FACTS = Path(__file__).resolve().parents[1] / "facts" / "jumpstart"


class SpecFolder:
    """Reads specifications as `JumpStartBucket` does, from a folder. Raises `FineTuningError` naming the model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def spec(self, model_id: str, version: str | None = None) -> ModelSpec:
        """The model's specification: the pinned version, or the newest in the manifest."""
        if version is not None and (self._folder / spec_key(model_id, version)).is_file():
            key = spec_key(model_id, version)
        else:
            entry = newest(read_manifest(self._read(MANIFEST_KEY, model_id)), model_id)
            if version is not None:
                known = entry.version if entry else "none"
                raise FineTuningError(
                    Code.MODEL_SPEC_UNUSABLE,
                    f"No JumpStart document for {model_id} {version} in {self._folder}.",
                    f"Remove model_version (newest here: {known}), or plan with --live.",
                    field="model_version",
                )
            key = entry.spec_key if entry else spec_key(model_id, "*")
        return read_spec(self._read(key, model_id), model_id)

    def _read(self, key: str, model_id: str) -> bytes:
        path = self._folder / key
        try:
            return path.read_bytes()
        except OSError as error:
            raise FineTuningError(
                Code.MODEL_SPEC_UNUSABLE,
                f"No JumpStart document for {model_id}: cannot read {path}.",
                "Set --specs to a folder with models_manifest.json and community_models/, or choose another model.",
                field="model",
            ) from error
