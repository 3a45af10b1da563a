"""A real browser without a window, spoken to over a pipe by the Chrome DevTools Protocol.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

Json = dict[str, Any]

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The servers must refuse by themselves what a browser of another make lets through.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,HttpsUpgrades",
    "--remote-debugging-pipe",
)


def find() -> str | None:
    """Where the browser is, None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Chromium:
    """One browser with one page.

    Args:
        profile: An empty directory that becomes its own.
        names: Host names that it finds on this machine, whatever a name server says.
    """

    def __init__(self, profile: Path, *names: str) -> None:
        program = find()
        assert program is not None, "Chromium is not installed: apt-get install chromium"
        rules = ", ".join(f"MAP {name} 127.0.0.1" for name in names)
        in_child, self._to = os.pipe()
        self._from, out_child = os.pipe()
        # It reads from 3 and writes to 4.
        redirected = f'exec "$@" 3<&{in_child} 4>&{out_child}'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", redirected, "bash", program, *_FLAGS),
                *(f"--user-data-dir={profile}", f"--host-resolver-rules={rules}", "about:blank"),
            ],
            pass_fds=(in_child, out_child),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(in_child)
        os.close(out_child)
        self._said = b""
        self._asked = 0
        self._session: str | None = None
        self._delivered: dict[str, str] = {}
        self._login: tuple[str, str] | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Fetch.enable", handleAuthRequests=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def open(
        self, url: str, *, delivered: str | None = None, login: tuple[str, str] | None = None
    ) -> None:
        """Opens an address.

        Args:
            url: The address.
            delivered: What it holds, as a server had it that had this name before; else it is
                asked for.
            login: User and password that a person types in there, and the browser remembers.
        """
        if delivered is not None:
            self._delivered[url] = delivered
        self._login = login
        self._call("Page.navigate", url=url)
        while self.evaluate("document.readyState") != "complete":
            pass
        self._login = None

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page, or of what it promises."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """Makes the page as large as this, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def picture(self) -> bytes:
        """What it shows, as PNG."""
        taken = self._call("Page.captureScreenshot", format="png")
        return base64.b64decode(taken["data"])

    def _call(self, method: str, **parameters: Any) -> Json:
        asked = self._send(method, **parameters)
        while True:
            message = self._receive()
            if message.get("id") == asked:
                assert "error" not in message, message
                found: Json = message["result"]
                return found
            if message.get("method") == "Fetch.requestPaused":
                self._let_through(message["params"])
            if message.get("method") == "Fetch.authRequired":
                self._answer_dialog(message["params"])

    def _let_through(self, paused: Json) -> None:
        delivered = self._delivered.get(paused["request"]["url"])
        if delivered is None:
            self._send("Fetch.continueRequest", requestId=paused["requestId"])
            return
        self._send(
            "Fetch.fulfillRequest",
            requestId=paused["requestId"],
            responseCode=200,
            responseHeaders=[{"name": "Content-Type", "value": "text/html; charset=utf-8"}],
            body=base64.b64encode(delivered.encode()).decode(),
        )

    def _answer_dialog(self, paused: Json) -> None:
        """Types the login in, or closes the dialog."""
        answer: Json = {"response": "CancelAuth"}
        if self._login:
            user, password = self._login
            answer = {"response": "ProvideCredentials", "username": user, "password": password}
        self._send(
            "Fetch.continueWithAuth", requestId=paused["requestId"], authChallengeResponse=answer
        )

    def _send(self, method: str, **parameters: Any) -> int:
        self._asked += 1
        message: Json = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._asked

    def _receive(self) -> Json:
        while b"\0" not in self._said:
            more = os.read(self._from, 1 << 16)
            assert more, "the browser has ended"
            self._said += more
        text, _, self._said = self._said.partition(b"\0")
        message: Json = json.loads(text)
        return message
