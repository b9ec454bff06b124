"""Somebody at a door: keeps cookies, posts forms with their CSRF token, remembers everything that was answered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from playwright.sync_api import APIRequestContext, APIResponse, Playwright

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_ONCE = re.compile(r'class="once"[\s\S]*?<pre[^>]*>([^<]+)<')


@dataclass(slots=True)
class Visitor:
    """One person or machine. `heard` is every body and header that the portal has answered with."""

    context: APIRequestContext
    heard: list[str] = field(default_factory=list)

    def get(self, path: str, *, status: int = 200) -> str:
        return self._hear(self.context.get(path), status)

    def post(self, path: str, values: dict[str, Any], *, status: int = 200, at: str | None = None) -> str:
        """Open the page, then post its form. Lists become repeated fields."""
        page = self.get(at or path)
        token = _TOKEN.search(page)
        assert token, f"no form on {path}"
        body = urlencode({**values, "csrfmiddlewaretoken": token[1]}, doseq=True)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._hear(self.context.post(path, data=body, headers=headers), status)

    def call(self, method: str, path: str, *, headers: dict[str, str], data: Any = None) -> APIResponse:
        """An API call; the caller looks at the status."""
        response = self.context.fetch(path, method=method, headers=headers, data=data)
        self.heard.append(f"{response.headers}\n{response.text()}")
        return response

    def _hear(self, response: APIResponse, status: int) -> str:
        text = response.text()
        self.heard.append(f"{response.url}\n{response.headers}\n{text}")
        assert response.status == status, f"{response.url}: {response.status}\n{problems_of(text)}"
        return text


def visitor(playwright: Playwright, base_url: str) -> Visitor:
    return Visitor(playwright.request.new_context(base_url=base_url))


def shown_once(html: str) -> str:
    found = _ONCE.search(html)
    assert found, problems_of(html)
    return found[1]


def problems_of(html: str) -> str:
    """What a page complains about, for the message of a failed assertion."""
    text = re.sub(r"<(script|style)[\s\S]*?</\1>|<[^>]+>", " ", html)
    return re.sub(r"\s+", " ", text)[:1500]
