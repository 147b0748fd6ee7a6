"""The stand-in for JumpStart's training script and for DJL-LMI: a real LoRA fine-tune and a real server, on the CPU.

Run from the repository's root with the interpreter of `.rehearsal/trainer` (requirements-trainer.txt):

    python -m rehearsal.trainer.weights smollm2|tiny [--cache DIR]         prints the base model's folder
    python -m rehearsal.trainer.train --root DIR --base-model FOLDER       one training job in DIR, not /opt/ml
    python -m rehearsal.trainer.serve --model-dir FOLDER --port PORT       one endpoint: /ping and /invocations
    python -m rehearsal.trainer.launcher --socket DESCRIPTOR               starts the last two, for the emulated AWS

`serve` takes a job's `DIR/model` as well as a base model's folder. Nothing here imports the product: a job
knows only what SageMaker hands to its container.
"""

import os

# Read by libgomp and by Hugging Face's libraries while they are loaded, so it is set before any of them is.
os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # the default spins for milliseconds: ruinous on shared cores
os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # NumPy computes nothing here, and a process with threads cannot be copied
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
