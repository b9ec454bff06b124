"""What is wrong with the page that is open: axe's rules in both colour schemes, and overflow at every width.

`BROWSER_SHOTS=folder` keeps pictures of each page, to look at.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import axe_playwright_python
from playwright.sync_api import Error

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

AXE: Final = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
QUICK: Final = {"resultTypes": ["violations"], "preload": False, "selectors": False, "iframes": False}
"""Without `preload` axe fetches no stylesheets of its own, which the policy would refuse."""
RULES: Final = {**QUICK, "runOnly": TAGS}
COLOURS: Final = {**QUICK, "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""Rules that another colour scheme can break; the others look at the same document again."""
NARROW: Final = {**QUICK, "runOnly": {"type": "rule", "values": ["target-size", "scrollable-region-focusable"]}}
"""Rules that a narrow layout can break."""
WIDTHS: Final = (1440, 768, 390, 360)
SETTLE: Final = "() => document.getAnimations().forEach(each => each.finish())"
"""Django's admin fades its colours whatever the person prefers; half-faded ones would be measured."""
ALIKE: Final = ".api-call:nth-of-type(n+7)"
"""Further sections of a page that repeats one a hundred times: axe would take a minute. Widths are checked of all."""
RUN: Final = f"""async rules => (await axe.run({{exclude: [["{ALIKE}"]]}}, rules)).violations.map(
  each => `${{each.id}}: ${{each.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(' | ')}}`)"""
MARK: Final = f"""() => {{
  const grounds = new Map([[null, '']]);
  const ground = each => {{
    if (!grounds.has(each)) {{
      const style = getComputedStyle(each);
      const own = [style.backgroundColor, style.backgroundImage, style.opacity].join(' ');
      grounds.set(each, ground(each.parentElement) + (own === 'rgba(0, 0, 0, 0) none 1' ? '' : own));
    }}
    return grounds.get(each);
  }};
  const longest = new Map(), fields = 'input, select, textarea';
  const states = ['[disabled]', '[aria-disabled=true]', '[aria-hidden=true]', fields, '{ALIKE}'];
  for (const each of document.querySelectorAll('body *')) {{
    each.removeAttribute('data-longest');
    const texts = [...each.childNodes].filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.data.trim());
    const length = each.matches(fields) ? 1 + (each.value || '').length : texts.join('').length;
    if (!length || !each.checkVisibility({{visibilityProperty: true}}) || each.offsetWidth < 2) continue;
    const style = getComputedStyle(each), disabled = !!each.closest('label')?.control?.disabled;
    const kind = [style.color, style.fontSize, style.fontWeight, style.textShadow, disabled,
      ...states.map(state => !!each.closest(state)), ground(each)].join();
    if (length > (longest.get(kind)?.length || 0)) longest.set(kind, {{length, each}});
  }}
  longest.forEach(found => found.each.setAttribute('data-longest', ''));
  axe.configure({{rules: [{{id: 'color-contrast', selector: '[data-longest]'}}]}});
}}"""
"""Contrast is measured of the longest text of each kind: of one colour, size and weight on the same grounds. The others
would get the same answer, and measuring them was half of what the suite's browsers had to do.
"""
WIDEST: Final = """() => {
  const width = document.documentElement.clientWidth, over = document.documentElement.scrollWidth - width;
  const cut = each => { const box = each.getBoundingClientRect(); return box.right > 1 && box.left < -1; };
  const found = [...document.querySelectorAll('body *')].filter(
    each => over > 0 && each.getBoundingClientRect().right > width + 1 || each.checkVisibility() && cut(each));
  return found.length ? [over, found.slice(0, 3).map(each => each.outerHTML.slice(0, 120))] : null;
}"""


_MOVED: Final = ("Execution context was destroyed", "axe is not defined")


def find_faults(page: Page, name: str) -> list[str]:
    """Every broken rule, with the scheme or the width in which it is broken."""
    page.route("**/*", _hold)
    try:
        for _ in range(5):
            try:
                return _review(page, name)
            except Error as error:
                if not any(sign in error.message for sign in _MOVED):
                    raise
                # It loaded itself anew just before it was held: it is reviewed from the start.
                page.wait_for_load_state()
    finally:
        page.unroute("**/*", _hold)
    message = f"{name}: the page does not stand still"
    raise AssertionError(message)


def _hold(route: Route) -> None:
    """A page that waits for something loads itself anew; while it is looked at, it stays."""
    if route.request.is_navigation_request():
        route.abort("aborted")
    else:
        route.continue_()


def _review(page: Page, name: str) -> list[str]:
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    page.emulate_media(color_scheme="light")
    page.evaluate(AXE)  # by the protocol: the policy allows no script of ours
    page.evaluate(MARK)
    faults = [f"light: {text}" for text in page.evaluate(RUN, RULES)]
    _keep(page, f"{name}_1440_light")
    page.emulate_media(color_scheme="dark")
    page.evaluate(SETTLE)
    page.evaluate(MARK)
    faults += [f"dark: {text}" for text in page.evaluate(RUN, COLOURS)]
    _keep(page, f"{name}_1440_dark")
    page.emulate_media(color_scheme="light")
    page.evaluate(SETTLE)
    for width in WIDTHS:
        if width != WIDTHS[0]:  # as it is already
            page.set_viewport_size({"width": width, "height": 900})
        over = page.evaluate(WIDEST)
        if over:
            faults.append(f"cut or too wide at {width} px: {over}")
        if width == 390:
            faults += [f"at 390 px: {text}" for text in page.evaluate(RUN, NARROW)]
    _keep(page, f"{name}_360_light")
    if os.environ.get("BROWSER_SHOTS"):
        page.emulate_media(color_scheme="dark")
        page.evaluate(SETTLE)
        _keep(page, f"{name}_360_dark")
        page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    return faults


def _keep(page: Page, name: str) -> None:
    if folder := os.environ.get("BROWSER_SHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
