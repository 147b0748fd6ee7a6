"""Chromium without a window, driven over its own pipe: no driver and no library besides Python's."""

import base64
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PACKAGE = HERE / "node_modules" / "@sparticuz" / "chromium"
UNPACKED = HERE.parents[1] / "build" / "chromium"
INFLATE = "process.stdin.pipe(require('zlib').createBrotliDecompress()).pipe(process.stdout)"
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}/fonts</dir><dir>/usr/share/fonts</dir><cachedir>{folder}/font-cache</cachedir></fontconfig>
"""

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


@dataclass(frozen=True)
class Browser:
    """An executable, and the environment it needs."""

    program: str
    environment: dict[str, str] = field(default_factory=dict)


@cache
def find_browser() -> Browser | None:
    """The Chromium that tests/browser/package.json pins, which needs nothing of the machine but Linux on x86-64; else
    the machine's own, else None."""
    if PACKAGE.is_dir() and (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return _unpacked()
    for name in ("chromium", "google-chrome", "chromium-browser"):
        if found := shutil.which(name):
            return Browser(found)
    return None


def _unpacked() -> Browser:
    """The package's program, libraries and fonts, inflated once for each version."""
    version = json.loads((PACKAGE / "package.json").read_text())["version"]
    folder = UNPACKED / version
    if not folder.is_dir():
        making = folder.with_name(f"{version}.{os.getpid()}")
        making.mkdir(parents=True)
        for archive in ("al2023.tar.br", "fonts.tar.br"):
            inflated = making / archive
            _inflate(archive, inflated)
            with tarfile.open(inflated) as tar:
                tar.extractall(making, filter="data")
            inflated.unlink()
        _inflate("chromium.br", making / "chromium")
        (making / "chromium").chmod(0o755)
        (making / "fonts.conf").write_text(FONTS.format(folder=folder))
        try:
            making.rename(folder)
        except OSError:  # another test run was quicker
            shutil.rmtree(making)
    libraries = {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
    return Browser(str(folder / "chromium"), libraries)


def _inflate(archive: str, to: Path) -> None:
    with (PACKAGE / "bin" / archive).open("rb") as packed, to.open("wb") as file:
        subprocess.run(["node", "-e", INFLATE], stdin=packed, stdout=file, check=True)


class Tab:
    """One page. Messages of the DevTools protocol are JSON, each ended by a NUL byte."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._last_id, self._unread, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and waits for its result; events that arrive meanwhile are kept in `events`."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open(self, url: str, *, width: int, scheme: str = "light") -> None:
        """Loads the page as a screen of that width (CSS pixels) with that colour scheme shows it."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, of a promise what it comes to; the page's own policy does not bind the
        debugger."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, file: Path) -> tuple[int, int]:
        """The whole page as a PNG, however long; returns its width and height in CSS pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(shot))
        return size["width"], size["height"]

    def happened(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            chunk = os.read(self._from, 1 << 16)
            assert chunk, "Chromium ended"
            self._unread += chunk
        message, _, self._unread = self._unread.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """A browser with an empty profile, ended on the way out. It reads commands on descriptor 3 and answers on 4.

    Skips the test where there is no browser, and fails it in CI, where there has to be one.
    """
    browser = find_browser()
    if browser is None:
        complaint = "There is no Chromium: run `make setup-tests` on Linux, or install one"
        pytest.fail(complaint) if os.environ.get("CI") else pytest.skip(complaint)
    browser_reads, to_browser = os.pipe()
    from_browser, browser_writes = os.pipe()
    command = [browser.program, *FLAGS, f"--user-data-dir={profile}"]
    redirected = f'exec "$@" 3<&{browser_reads} 4>&{browser_writes}'
    process = subprocess.Popen(
        ["bash", "-c", redirected, "chromium", *command],
        pass_fds=(browser_reads, browser_writes),
        env=os.environ | browser.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(browser_reads)
    os.close(browser_writes)
    try:
        yield Tab(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait(timeout=10)
        os.close(to_browser)
        os.close(from_browser)
