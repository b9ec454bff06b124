"""Not a test: writes every page, serves it under the strict policy, runs axe and takes pictures.

`python -m tests.ui.shots /tmp/shots [name ...]`
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import axe_playwright_python
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]
VIEWS = [
    ("desktop", 1440, "light"),
    ("desktop", 1440, "dark"),
    ("mobile", 390, "light"),
    ("mobile", 390, "dark"),
]
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


class Strict(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass


def write_pages(folder: Path) -> list[str]:
    from tests.ui.rendering import ROOT, render  # noqa: PLC0415 (needs Django set up first)
    from tests.ui.samples import PAGES  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    static = folder / "static"
    if not static.exists():
        static.symlink_to(ROOT / "static")
    for name, (template, context) in PAGES.items():
        (folder / f"{name}.html").write_text(render(template, context))
    return list(PAGES)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    handler = functools.partial(Strict, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def find_faults(page: Page) -> list[str]:
    page.evaluate(AXE)
    violations = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
    faults = [f"axe {each['id']}: {[node['html'][:110] for node in each['nodes'][:3]]}" for each in violations]
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*faults, f"overflow by {wide} px"] if wide > 0 else faults


def note_message(faults: list[str], message: ConsoleMessage) -> None:
    faults.append(message.text)


def shoot(browser: Browser, base: str, name: str, folder: Path) -> int:
    count = 0
    for device, width, scheme in VIEWS:
        height = 900 if width > 500 else 844
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        faults: list[str] = []
        page.on("console", functools.partial(note_message, faults))
        page.goto(f"{base}/{name}.html")
        faults += find_faults(page)
        page.set_viewport_size({"width": 360 if width < 500 else 1024, "height": height})
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            faults.append("overflow at the narrower width")
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=folder / f"{name}_{device}_{scheme}.png", full_page=True)
        for fault in faults:
            count += 1
            sys.stdout.write(f"{name} {device} {scheme}: {fault}\n")
        context.close()
    return count


def main(folder: Path, only: list[str]) -> None:
    import django  # noqa: PLC0415

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.ui.standalone"
    django.setup()
    names = write_pages(folder / "site")
    with serve(folder / "site") as base, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        total = sum(shoot(browser, base, name, folder) for name in names if not only or name in only)
        browser.close()
    sys.stdout.write(f"{len(names)} pages, {total} faults\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
