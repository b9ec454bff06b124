from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ui.markup import Markup
from tests.ui.rendering import ROOT, make_engine, render
from tests.ui.samples import PAGES
from tests.ui.samples.shell import SECRET

if TYPE_CHECKING:
    from django.conf import LazySettings

TEMPLATES = ROOT / "templates"
SOURCES = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.html"))
TRANSLATED = re.compile(r"{% blocktrans(late)?\b.*?{% endblocktrans(late)? %}", re.DOTALL)
TEMPLATE_SYNTAX = re.compile(r"{#.*?#}|{%.*?%}|{{.*?}}", re.DOTALL)
# Class names and entities are for the browser.
UNSPOKEN = re.compile(r"{% block (?:bodyclass|coltype) %}.*?{% endblock %}|&[a-z]+;", re.DOTALL)
SPOKEN = re.compile(r'(?:aria-label|placeholder|title|alt)="([^"]*)"')


@pytest.fixture(autouse=True)
def _plain_static_names(settings: LazySettings) -> None:
    backend = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": backend}


@pytest.fixture(params=sorted(PAGES))
def markup(request: pytest.FixtureRequest) -> Markup:
    template, context = PAGES[request.param]
    return Markup(render(template, context))


def test_every_page_is_well_formed(markup: Markup) -> None:
    assert markup.faults == []


def test_no_page_needs_more_than_the_strict_policy_allows(markup: Markup) -> None:
    assert markup.inline == []
    assert markup.values("style") == []
    handlers = [name for _, attrs in markup.tags for name in attrs if name.startswith("on")]
    assert handlers == []
    loaded = [
        attrs.get("src") or attrs.get("href", "") for tag, attrs in markup.tags if tag in ("script", "link", "img")
    ]
    assert loaded
    assert [address for address in loaded if not re.match(r"/?static/", address)] == []
    assert not any(tag == "style" for tag, _ in markup.tags)


def test_every_form_that_posts_carries_the_csrf_token(markup: Markup) -> None:
    assert [form for form in markup.forms if form["method"] == "post" and not form["token"]] == []


def test_ids_are_unique_and_every_reference_leads_to_one(markup: Markup) -> None:
    ids = Counter(markup.values("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    wired = ("for", "aria-describedby", "aria-labelledby", "data-copy", "data-reveal")
    wanted = {name for attribute in wired for value in markup.values(attribute) for name in value.split()}
    jumps = {value[1:] for value in markup.values("href") if re.fullmatch(r"#.+", value)}
    assert sorted((wanted | jumps) - set(ids)) == []


def test_every_page_has_one_heading_and_one_main(markup: Markup) -> None:
    headings = [int(tag[1]) for tag, _ in markup.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings.count(1) == 1
    assert [tag for tag, _ in markup.tags].count("main") == 1


def test_every_button_says_whether_it_submits(markup: Markup) -> None:
    assert [attrs for tag, attrs in markup.tags if tag == "button" and "type" not in attrs] == []


@pytest.mark.parametrize("name", ["register_wrong", "rotate", "sign_in_wrong", "invitation"])
def test_a_posted_secret_is_never_put_back_on_a_page(name: str) -> None:
    template, context = PAGES[name]
    html = render(template, context)
    assert SECRET not in html
    passwords = [attrs for tag, attrs in Markup(html).tags if tag == "input" and attrs.get("type") == "password"]
    assert passwords
    assert [attrs for attrs in passwords if "value" in attrs] == []


def test_wrong_fields_are_marked_described_and_listed_first() -> None:
    template, context = PAGES["register_wrong"]
    markup = Markup(render(template, context))
    named = {attrs.get("name"): attrs for _, attrs in markup.tags}
    assert named["name"]["aria-invalid"] == "true"
    assert named["name"]["aria-describedby"] == "id_name_helptext id_name_error"
    assert "#id_name" in markup.values("href")
    assert "#id_scope" in markup.values("href")


def test_the_theme_cookie_reaches_the_document_and_nothing_else_does() -> None:
    template, context = PAGES["keys"]
    assert 'data-theme="dark"' in render(template, context, theme="dark")
    assert "data-theme=" not in render(template, context, theme='"><script>')


def test_hostile_names_are_escaped() -> None:
    template, context = PAGES["key"]
    hostile = '"><script>alert(1)</script>'
    html = render(template, context | {"key": context["key"] | {"name": hostile, "hint": hostile}})
    assert "<script>alert" not in html


@pytest.mark.parametrize("name", ["400", "403", "404", "500", "403_csrf"])
def test_error_pages_render_without_a_request(name: str) -> None:
    assert "<h1>" in str(make_engine().get_template(f"{name}.html").render({}))


def test_only_a_running_offboarding_refreshes_by_itself() -> None:
    for mark in ('<noscript><meta http-equiv="refresh"', 'data-refresh="5"'):
        assert mark in render(*PAGES["offboarding"])
        assert mark not in render(*PAGES["offboarded"])


@pytest.mark.parametrize("source", SOURCES)
def test_every_word_in_a_template_is_translatable(source: str) -> None:
    text = TEMPLATE_SYNTAX.sub("", TRANSLATED.sub("", UNSPOKEN.sub("", _read(source))))
    spoken = [value for value in SPOKEN.findall(text) if re.search(r"[A-Za-z]{2}", value)]
    assert spoken == []
    words = re.sub(r"<[^>]*>", "\n", text).replace("BYOK Portal", "")
    assert re.findall(r"[A-Za-z]{3,}.*", words) == []


@pytest.mark.parametrize("source", SOURCES)
def test_no_template_holds_inline_style_script_or_data_uris(source: str) -> None:
    text = _read(source)
    assert not re.search(r"\sstyle=|<style|javascript:|data:[a-z]+/|\son[a-z]+=", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)


def test_the_stylesheets_load_nothing_from_anywhere() -> None:
    for path in (ROOT / "static").glob("*.css"):
        assert not re.search(r"url\(|@import", path.read_text()), path.name


def test_every_page_template_has_a_sample() -> None:
    pages = {name for name in SOURCES if name.split("/")[0] in ("keys", "tenants", "audit")}
    mine = {name for name, _ in PAGES.values()}
    assert {name for name in pages if not Path(name).name.startswith("_")} - mine == set()


def _read(source: str) -> str:
    return (TEMPLATES / source).read_text()
