"""Starting and stopping the emulated AWS as a process of its own, and talking to it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pyarrow
from botocore.config import Config

from finetuning.runs.tags import RUN_TAG
from rehearsal.emulator.identity import ACCOUNT, OPERATOR_SECRET

PROJECT = Path(__file__).resolve().parents[1]
HOME = PROJECT / ".rehearsal"
"""Everything the rehearsal keeps: environments, weights, state, logs. Not in git."""
EMULATOR_PYTHON = HOME / "emulator" / "bin" / "python"
TRAINER_PYTHON = HOME / "trainer" / "bin" / "python"
REGION = "us-east-1"
_READY_SECONDS = 60
_STOP_SECONDS = 10


class EmulatorFailed(Exception):
    """The emulated AWS did not come up; the message ends with the end of its log."""


@dataclass(frozen=True)
class Emulator:
    """A running emulated AWS. Its process leads a process group of its own."""

    pid: int
    port: int
    state: Path
    account: str = ACCOUNT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What a command needs to take this for AWS."""
        return {
            **aws_environment(),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_SECRET_ACCESS_KEY": OPERATOR_SECRET,
            "CDK_HOME": str(self.state / "cdk"),
        }

    def client(self, service: str, attempts: int = 5) -> Any:
        """A plain boto3 client of this emulator, by default with boto3's own number of attempts."""
        with _making_client:  # boto3's session is not thread-safe
            return _client(self.url, service, attempts, self.account)

    def client_of(self, role_arn: str, service: str) -> Any:
        """A client for a person or a program with this role, whose policies are judged."""
        environment = self.environment_of(role_arn)
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        with _making_client:
            return _client(self.url, service, 1, *(environment[name] for name in names))

    def know(self, other: "Emulator") -> None:
        """Lets roles of this account ask for what the other account has."""
        self._control("POST", "neighbours", json.dumps({"account": other.account, "url": other.url}).encode())

    def environment_of(self, role_arn: str) -> dict[str, str]:
        """The same for a person with this role, whose policies are judged; the operator's are not."""
        session = json.loads(self._control("POST", "sessions", json.dumps({"role": role_arn}).encode()))
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return self.environment() | dict(zip(names, session, strict=True))

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2).close()  # noqa: S310 — the emulator's own
        except OSError:
            return False
        return True

    def inject(self, fault: str, match: str = "", *, after: int = 0, times: int = 1, message: str = "") -> None:
        """Makes something go wrong (rehearsal/emulator/faults.py has the list, and says what the rest means)."""
        injection = {"fault": fault, "match": match, "after": after, "times": times, "message": message}
        self._control("POST", "faults", json.dumps(injection).encode())

    def clear_faults(self, match: str = "") -> None:
        """Ends the faults that were injected with every word of `match`: without any, all of them."""
        self._control("DELETE", f"faults?{urlencode({'match': match})}")

    def scale_waits(self, factor: float) -> None:
        """Changes the factor on the state machine's waits and pauses between tries, for what waits from now on."""
        config = json.dumps({"stepfunctions._SFN_WAIT_SCALE": factor}).encode()
        if not json.loads(self._request("POST", "/_ministack/config", config))["applied"]:
            raise EmulatorFailed("The emulated AWS no longer lets its waits be scaled while it runs.")

    def happened(self) -> list[dict[str, str]]:
        """The faults that happened, `{fault, match}` each time."""
        faults: list[dict[str, str]] = json.loads(self._control("GET", "faults"))
        return faults

    def denials(self) -> list[dict[str, str]]:
        """The calls that a role's policies refused, each once: `caller` (an ARN), `action`, `resource`."""
        refused = json.loads(self._control("GET", "denials"))
        return [dict(call) for call in sorted({tuple(sorted(each.items())) for each in refused})]

    def costing(self) -> list[dict[str, Any]]:
        """What would cost money now: training jobs and endpoints, each `{kind, name, status, instance_type, instances,
        owner}`, where `owner` is the run it is tagged with, "" if it has no such tag."""
        running: list[dict[str, Any]] = json.loads(self._control("GET", "running"))
        return [thing | {"owner": thing["tags"].get(RUN_TAG, "")} for thing in running]

    def grants(self) -> list[dict[str, Any]]:
        """What every role may do: `role`, `action`, `resource`, `condition`, and whether a call `used` it."""
        granted: list[dict[str, Any]] = json.loads(self._control("GET", "grants"))
        return granted

    def calls(self) -> list[dict[str, Any]]:
        """A call for each permission that was used: `role`, `action`, `resource`, `keys`, in the templates' words."""
        calls: list[dict[str, Any]] = json.loads(self._control("GET", "calls"))
        return calls

    def stop(self) -> None:
        """Ends the emulator and everything in its process group: functions, jobs, endpoints."""
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while is_running(self.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone; macOS says it so
            os.killpg(self.pid, signal.SIGKILL)

    def _control(self, method: str, what: str, body: bytes | None = None) -> bytes:
        return self._request(method, f"/_rehearsal/{what}", body)

    def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(self.url + path, body, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 — the emulator's own address
            said: bytes = answer.read()
        return said


_making_client = threading.Lock()


@cache
def _client(
    url: str, service: str, attempts: int, key: str, secret: str = OPERATOR_SECRET, token: str | None = None
) -> Any:
    """Kept, because making one takes longer than most of the calls."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(max_pool_connections=50, retries={"total_max_attempts": attempts}),
    )


def aws_environment() -> dict[str, str]:
    """This process's environment with a region, and with nothing that could lead a command to the real AWS."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    return {
        **inherited,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "NODE_NO_WARNINGS": "1",
    }


def start(
    state: Path,
    base_model: Path,
    *,
    port: int = 0,
    wait_scale: float = 1.0,
    max_new_tokens: int | None = None,
    account: str = ACCOUNT,
    keep: bool = False,
) -> Emulator:
    """Starts an emulated AWS and waits until it answers; `port` 0 takes a free one.

    `wait_scale` is a factor on the state machine's waits, `max_new_tokens` where every answer of an endpoint ends.
    `account` is its number. With `keep` it outlives this process. Raises `EmulatorFailed`.
    """
    port = port or _free_port()
    state.mkdir(parents=True, exist_ok=True)
    log = state / "emulator.log"
    command = [
        str(EMULATOR_PYTHON), "-m", "rehearsal.emulator",
        "--port", str(port), "--state", str(state), "--region", REGION, "--account", account,
        "--wait-scale", str(wait_scale),
        "--trainer-python", str(TRAINER_PYTHON), "--base-model", str(base_model),
        "--parquet-layer", str(_parquet_layer(state)),
        *(["--max-new-tokens", str(max_new_tokens)] if max_new_tokens else []),
        *([] if keep else ["--with-parent"]),
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 — our own command
            command,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    emulator = Emulator(process.pid, port, state, account)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if emulator.answers():
                return emulator
            time.sleep(0.05)
        raise EmulatorFailed(f"The emulated AWS did not start; its log, {log}, ends:\n{log.read_text()[-2000:]}")
    except BaseException:  # an interruption, too, must leave nothing behind
        emulator.stop()
        raise


def base_model(name: str) -> Path:
    """The folder of the model that stands in for Llama (`smollm2` or `tiny`), made at the first call."""
    command = [str(TRAINER_PYTHON), "-m", "rehearsal.trainer.weights", name]
    printed = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return PROJECT / printed.stdout.strip().splitlines()[-1]


def _parquet_layer(state: Path) -> Path:
    """A layer's folder that holds this environment's pyarrow; the emulator's runs the same Python."""
    layer = state / "parquet-layer"
    (layer / "python").mkdir(parents=True, exist_ok=True)
    link = layer / "python" / "pyarrow"
    if not link.is_symlink():
        link.symlink_to(Path(pyarrow.__file__).parent)
    return layer


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_running(pid: int) -> bool:
    """Whether the process is still there; one of our own that has ended is collected."""
    with contextlib.suppress(ChildProcessError):  # not one of our own
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
