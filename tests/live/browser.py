"""Headless Chromium, driven over its DevTools protocol by a pair of pipes: no port, no library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from base64 import b64decode
from pathlib import Path
from typing import Any

#: Names under which distributions have it.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip
PATIENCE_S = 60


def program() -> str | None:
    """The browser's path; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One window; use as a context manager.

    Args:
        profile: a new, empty folder.
    """

    def __init__(self, profile: Path) -> None:
        path = program()
        assert path is not None
        self._errors: list[str] = []
        self._number = 0
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        self._log = (profile / "stderr").open("wb")
        # Chromium reads commands from descriptor 3 and answers on 4, messages end with a NUL.
        # (Not `sh`: Debian's knows no descriptors of two digits.)
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{commands} 4>&{answers}', path,
             f"--user-data-dir={profile}", *FLAGS],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            pass_fds=(commands, answers),
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._pipe = os.fdopen(self._from, "rb")
        self._watch = threading.Timer(3 * PATIENCE_S, self._process.kill)
        self._watch.start()
        targets = self.call("Target.getTargets", session=False)["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", session=False, targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.call("Log.enable")

    def call(self, method: str, *, session: bool = True, **parameters: Any) -> Any:
        """One command; waits for its answer and notes errors of the page that come before it."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._read()
            if got.get("id") == self._number:
                assert "error" not in got, got
                return got["result"]
            self._note(got)

    def _read(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._pipe.read(1)) != b"\0":
            assert byte, "the browser went away"
            text += byte
        return dict(json.loads(text))

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what the page complains of: exceptions, blocked resources, console errors."""
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self._errors.append(str(parameters["exceptionDetails"]))
        if method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self._errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url')}")

    @property
    def errors(self) -> list[str]:
        """Complaints so far."""
        return list(self._errors)

    def window(self, width: int, height: int, *, dark: bool = False) -> None:
        """Size and colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go to a page; waits for its document, not for its streams, which never end."""
        self._errors.clear()
        self.call("Page.navigate", url=url)
        self.until(f"location.href === '{url}' && document.readyState !== 'loading'")

    def ask(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str) -> None:
        """Wait for an expression to become true."""
        pause = threading.Event()
        for _ in range(10 * PATIENCE_S):
            if self.ask(script):
                return
            pause.wait(0.1)
        raise AssertionError(f"{script} did not come true")

    def screenshot(self, *, full: bool = False) -> bytes:
        """The window, or the whole page, as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        return b64decode(shot["data"])

    def close(self) -> None:
        """End it."""
        self._watch.cancel()
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        os.close(self._to)
        self._log.close()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
