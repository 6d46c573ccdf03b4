"""Headless Chromium over its DevTools protocol: as much of it as the tests of the pages need."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One page; ``foreign`` collects what it asked of other hosts than this machine."""

    def __init__(self, profile: Path, width: int = 1400, height: int = 1000) -> None:
        program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
        if program is None:
            pytest.skip(f"needs a browser: none of {', '.join(PROGRAMS)} is installed")
        self._process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
                f"--window-size={width},{height}", "--remote-debugging-port=0", "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        address = profile / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (address.is_file() and address.read_text().strip()):
            assert self._process.poll() is None, f"{program} ended at its start"
            assert time.monotonic() < end, f"{program} did not start"
            time.sleep(0.1)
        port = address.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            page = next(one for one in json.loads(answer.read()) if one["type"] == "page")
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None, ping_interval=None)
        self._number = 0
        self.foreign: set[str] = set()
        for domain in ("Page", "Runtime", "Network"):
            self._send(f"{domain}.enable")

    def close(self) -> None:
        """End the browser and its helpers, whatever state they are in."""
        with contextlib.suppress(Exception):
            self._send("Browser.close")
            self._socket.close()
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def open(self, url: str) -> None:
        self._send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression (promises are awaited)."""
        answer = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self) -> str:
        return str(self.run("document.body ? document.body.innerText : ''"))

    def wait_for(self, words: str, timeout_s: float = 60) -> None:
        """Wait until the page shows ``words``."""
        self.wait_until(f"document.body && document.body.innerText.includes({json.dumps(words)})", words, timeout_s)

    def wait_until(self, script: str, what: str, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while not self.run(script):
            assert time.monotonic() < end, f"the page never showed {what!r}:\n{self.text()[:3000]}"
            time.sleep(0.3)

    def click(
        self, words: str, selector: str = "button, a, [role=menuitem], [role=option]", last: bool = False
    ) -> None:
        """Click the first (or last) visible element of ``selector`` whose text is ``words``."""
        found = (
            f"[...document.querySelectorAll({json.dumps(selector)})].filter(e => e.getClientRects().length > 0 &&"
            f" (e.innerText || '').trim() === {json.dumps(words)})"
        )
        self.wait_until(f"{found}.length > 0", f"something to click that says {words}")
        self.click_at(f"{found}.at({-1 if last else 0})")

    def click_at(self, element: str) -> None:
        """Click the middle of the element that a JavaScript expression gives, with a real mouse event."""
        x, y = self.run(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        time.sleep(0.3)

    def type(self, text: str) -> None:
        self._send("Input.insertText", text=text)
        time.sleep(0.2)

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"]))

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("method") == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith(
                    ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "file:", "about:", "chrome")
                ):
                    self.foreign.add(url)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return dict(message["result"])
