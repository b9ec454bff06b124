"""Reads rendered HTML strictly: what a browser would forgive is reported."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"])
SVG_LEAVES = frozenset(["path", "circle", "rect", "line", "polyline", "polygon", "ellipse"])
Attributes = list[tuple[str, str | None]]


class Markup(HTMLParser):
    """Tags in order, their balance, and the state of each form."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.faults: list[str] = []
        self.forms: list[dict[str, object]] = []
        self.inline: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self._note(tag, attrs)
        if tag not in SVG_LEAVES and tag not in VOID:
            self.faults.append(f"<{tag}/> does not close itself in HTML")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:]}")
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style") and data.strip():
            self.inline.append(data)

    def _note(self, tag: str, attrs: Attributes) -> None:
        named = {name: value or "" for name, value in attrs}
        if len(named) != len(attrs):
            self.faults.append(f"<{tag}> repeats an attribute: {attrs}")
        self.tags.append((tag, named))
        if tag == "form":
            self.forms.append({"method": named.get("method", "get").lower(), "token": False})
        if named.get("name") == "csrfmiddlewaretoken" and self.forms:
            self.forms[-1]["token"] = True

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]
