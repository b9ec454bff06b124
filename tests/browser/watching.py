"""Watches a browser context: whatever a page complains about, fails to load or asks of another origin is a fault."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext, ConsoleMessage, Request, Response, WebError

REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation",
  e => console.error(`CSP: ${e.violatedDirective} blocked ${e.blockedURI} at ${e.sourceFile}:${e.lineNumber}`));
"""
_FAILED = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")


@dataclass  # without slots: Playwright keeps its own attributes on an object whose methods listen
class Watch:
    """Faults of every page of one context, since it was made."""

    origin: str
    faults: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def attach(self, context: BrowserContext) -> None:
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._hear)
        context.on("weberror", self._catch)
        context.on("request", self._follow)
        context.on("requestfailed", self._miss)
        context.on("response", self._receive)

    @contextmanager
    def expecting(self, status: int) -> Iterator[None]:
        """Inside, a page may answer with this status; what it loads may not."""
        self.expected.add(status)
        yield
        self.expected.discard(status)

    def check(self) -> None:
        """Raises AssertionError with every fault so far."""
        assert self.faults == [], "\n".join(self.faults)

    def _hear(self, message: ConsoleMessage) -> None:
        refused = _FAILED.match(message.text)
        if refused and int(refused[1]) in self.expected:
            return  # Chromium's own line about a page that answered 404 or 422
        if message.type in {"error", "warning"}:
            self.faults.append(f"console {message.type}: {message.text} at {message.location}")

    def _catch(self, error: WebError) -> None:
        self.faults.append(f"script: {error.error}")

    def _follow(self, request: Request) -> None:
        if not request.url.startswith(f"{self.origin}/"):
            self.faults.append(f"another origin: {request.url}")

    def _miss(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the person went on before the page had all its files
            self.faults.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _receive(self, response: Response) -> None:
        is_page = response.request.resource_type in {"document", "fetch"}  # a script may ask on the person's behalf
        if response.status >= 400 and not (is_page and response.status in self.expected):
            self.faults.append(f"{response.status}: {response.request.method} {response.url}")
