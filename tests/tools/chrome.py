"""Chromium as a test's hand and eye, over its DevTools pipe: real keys, and what a page then says.

    with Chrome(find_browser()) as tab:
        tab.screen(390, 800)
        tab.open("http://127.0.0.1:8000/")
        tab.press("Tab", "Enter")
        tab.ask("document.activeElement.textContent")

A browser that ends or says nothing fails the test.
"""

import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Self

from browser import OPTIONS, end_group

# name of a key -> (its code, Windows' number, the text that it types)
KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    " ": ("Space", 32, " "),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "Home": ("Home", 36, ""),
    "End": ("End", 35, ""),
}
PATIENCE = 30  # seconds

# Chromium looks for the pipe at the numbers 3 and 4, whatever it has here.
AT_THREE_AND_FOUR = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Chrome:
    """One tab; `errors` and `requests` are what its page complained of and asked for."""

    def __init__(self, browser: str) -> None:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self.out = os.pipe()
        self.inward, theirs_out = os.pipe()
        theirs = (theirs_in, theirs_out)
        options = [option for option in OPTIONS if option != "--dump-dom"]
        command = [
            browser,
            *options,
            "--remote-debugging-pipe",
            f"--user-data-dir={self.folder.name}",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_THREE_AND_FOUR, *map(str, theirs), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=theirs,
            start_new_session=True,
        )
        for fd in theirs:
            os.close(fd)
        self.numbers = itertools.count(1)
        self.rest = b""
        self.session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.loaded = 0

    def __enter__(self) -> Self:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        end_group(self.process)
        os.close(self.out)
        os.close(self.inward)
        self.folder.cleanup()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Do one thing of the DevTools protocol; its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        answer = self.listen(lambda heard: heard.get("id") == number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def listen(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message that is wanted; notes what the page does meanwhile."""
        end = time.monotonic() + PATIENCE
        while True:
            while b"\0" in self.rest:
                line, _, self.rest = self.rest.partition(b"\0")
                heard = json.loads(line)
                self.note(heard.get("method"), heard.get("params", {}))
                if wanted(heard):
                    return heard
            ready, _, _ = select.select([self.inward], [], [], end - time.monotonic())
            assert ready, "the browser says nothing"
            said = os.read(self.inward, 1 << 16)
            assert said, "the browser has ended"
            self.rest += said

    def note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded += 1

    def open(self, address: str) -> None:
        before = self.loaded
        self.errors.clear()
        self.requests.clear()
        self.send("Page.navigate", url=address)
        if self.loaded == before:
            self.listen(lambda heard: heard.get("method") == "Page.loadEventFired")

    def screen(self, width: int, height: int) -> None:
        """In CSS pixels; a narrow one is a phone's."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def medium(self, medium: str = "", **features: str) -> None:
        """The page as on `print`, or to a reader whose system prefers such and such."""
        wishes = [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
        ]
        self.send("Emulation.setEmulatedMedia", media=medium, features=wishes)

    def scripts(self, on: bool) -> None:
        self.send("Emulation.setScriptExecutionDisabled", value=not on)

    def press(self, *names: str) -> None:
        for name in names:
            code, number, text = KEYS[name]
            key = {"key": name, "code": code, "windowsVirtualKeyCode": number}
            typed = {"text": text} if text else {}
            self.send("Input.dispatchKeyEvent", type="keyDown", **key, **typed)
            self.send("Input.dispatchKeyEvent", type="keyUp", **key)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def announced(self, selector: str) -> str:
        """`role: name` of an element, as assistive technology gets it."""
        found = self.send("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        nodes = self.send(
            "Accessibility.getPartialAXTree",
            objectId=found["result"]["objectId"],
            fetchRelatives=False,
        )
        node = nodes["nodes"][0]
        return f"{node['role']['value']}: {node.get('name', {}).get('value', '')}"
