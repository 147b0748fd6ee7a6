"""Builders of training jobs."""

import json
from pathlib import Path
from typing import Any

SEVEN_MODULES = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
# The expressions of the model's spec (meta-textgeneration-llama-3-1-70b 2.16.2), by which SageMaker reads the log.
METRICS = {
    "eval-loss": r"eval_epoch_loss=tensor\(([0-9\.]+)",
    "eval-ppl": r"eval_ppl=tensor\(([0-9\.]+)",
    "train-loss": r"train_epoch_loss=([0-9\.]+)",
}


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def any_dialogs(count: int) -> list[dict[str, Any]]:
    return [
        {
            "dialog": [
                {"role": "user", "content": f"What is {number}?"},
                {"role": "assistant", "content": "Aye, a fine number!"},
            ]
        }
        for number in range(count)
    ]


def any_job(root: Path, channels: dict[str, dict[str, str]] | None = None, **hyperparameters: Any) -> Path:
    """Fills `root` with a chat job. `channels`: channel → file → content; hyperparameters replace the usual ones."""
    if channels is None:
        channels = {
            "training": {"data.jsonl": json_lines(any_dialogs(12))},
            "validation": {"data.jsonl": json_lines(any_dialogs(3))},
        }
    settings = {
        "chat_dataset": "True",
        "epoch": 2,
        "learning_rate": 0.01,
        "target_modules": SEVEN_MODULES,
        "per_device_train_batch_size": 2,
        **hyperparameters,
    }
    config = root / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps({name: str(value) for name, value in settings.items()}))
    (config / "inputdataconfig.json").write_text(json.dumps({name: {} for name in channels}))
    for channel, files in channels.items():
        folder = root / "input" / "data" / channel
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
    return root
