"""Runs a program of examples/clients several times in one process, in the environment of OpenAI's clients.

    python run_program.py PROGRAM < calls.json > results.json

A call is `{"base_url", "token"}`, its result `{"printed"}`, or `{"error", "status", "message"}` of what was raised. The
program itself is not changed; the process is, for importing LiteLLM takes longer than all calls together.
"""

import contextlib
import io
import json
import os
import runpy
import sys
from pathlib import Path

QUESTION = "Big kettle"


def main() -> None:
    program = Path(sys.argv[1])
    sys.path.insert(0, str(program.parent))
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # LiteLLM downloads its prices at import otherwise
    results = [run(program, call["base_url"], call["token"]) for call in json.load(sys.stdin)]
    json.dump(results, sys.stdout)


def run(program: Path, base_url: str, token: str) -> dict[str, object]:
    os.environ["OPENAI_API_KEY"] = token
    sys.argv = [str(program), base_url, QUESTION]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(program), run_name="__main__")
    except Exception as error:  # noqa: BLE001 — which one it is, is what the test asks
        return {
            "error": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "message": str(error),
        }
    return {"printed": printed.getvalue()}


if __name__ == "__main__":
    main()
