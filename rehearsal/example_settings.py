"""run.json of the examples, for the model of a rehearsal: small, on a CPU, and untrained in the format.

The examples have values for Llama. With those the stand-in would learn too little in a rehearsal's minute.
"""

import json
from pathlib import Path
from typing import Any

_HYPERPARAMETERS = {
    "epoch": 1,
    "learning_rate": 0.001,
    "target_modules": "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
    "lora_dropout": 0,
    "per_device_train_batch_size": 2,
    "max_input_length": 256,
}
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "chat": _HYPERPARAMETERS,
    "instruction": _HYPERPARAMETERS,
    "domain_adaptation": _HYPERPARAMETERS | {"per_device_train_batch_size": 1, "max_input_length": 64},
}
"""By example: those that `--example` takes."""


def rehearsed_run_json(folder: Path, endpoint: str | None = None, target: str = "sagemaker") -> bytes:
    """The example's run.json with a rehearsal's hyperparameters, and the licence, of a model that has none, accepted.

    `endpoint` names the run's endpoint, `target` is where its model is served.
    """
    document = json.loads((folder / "run.json").read_bytes())
    document |= {"accept_eula": True, "hyperparameters": HYPERPARAMETERS[folder.name]}
    changes = {"name": endpoint, "target": target if target != "sagemaker" else None}
    if chosen := {name: value for name, value in changes.items() if value}:
        document["endpoint"] = document.get("endpoint", {}) | chosen
    return json.dumps(document, indent=2).encode()
