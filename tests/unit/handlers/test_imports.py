"""What a handler imports: a cold start is mostly that. `make bench-imports` measures it."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import finetuning.handlers

HANDLERS = sorted(path.stem for path in Path(finetuning.handlers.__path__[0]).glob("[a-z]*.py"))
HANDLERS.remove("step")
USERS: dict[str, set[str]] = {
    "requests": set(),
    "sqlite3": set(),
    "charset_normalizer": set(),
    "tiktoken": set(),
    "pyarrow": set(),
    "jinja2": {"approve_deployment", "clean_up_run", "report_failure", "report_success", "sweep_runs"},
    "msgspec": {"finish_dataset", "prepare_shard"},
    "finetuning.datasets.detection": {"plan_run", "promote_model", "reframe_parquet"},
    "finetuning.jumpstart.requests": {
        *("deploy_endpoint", "describe_endpoint", "finish_dataset", "import_model", "plan_run", "register_model"),
        *("promote_model", "start_training"),
    },
}
"""Which handlers import what is slow to import; pyarrow and tiktoken are loaded when they are needed."""


@cache
def imported(handler: str) -> frozenset[str]:
    """The modules that are loaded after the import of the handler alone, in a process started as by Lambda."""
    program = f"import json, sys, finetuning.handlers.{handler}; print(json.dumps(list(sys.modules)))"
    as_lambda = {
        "LAMBDA_TASK_ROOT": "/var/task",
        "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "AWS_REGION": "us-east-1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    run = subprocess.run([sys.executable, "-c", program], env=as_lambda, capture_output=True, text=True, check=True)
    return frozenset(json.loads(run.stdout))


@pytest.mark.parametrize("module", USERS)
def test_only_handlers_that_need_a_module_import_it(module: str) -> None:
    assert {handler for handler in HANDLERS if module in imported(handler)} == USERS[module]
