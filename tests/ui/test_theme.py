from __future__ import annotations

import pytest
from django.test import RequestFactory

from byok_portal.ui.theme import read_theme, switch_theme


def test_switching_sets_the_cookie_and_goes_back() -> None:
    request = RequestFactory().post("/ui/theme/", {"theme": "dark", "next": "/t/acme/keys/?q=a"})
    response = switch_theme(request)
    assert response.cookies["theme"].value == "dark"
    assert response["Location"] == "/t/acme/keys/?q=a"


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_it_never_leads_to_another_site(target: str) -> None:
    response = switch_theme(RequestFactory().post("/ui/theme/", {"theme": "light", "next": target}))
    assert response["Location"] == "/"


def test_an_unknown_theme_sets_nothing_and_counts_as_none() -> None:
    response = switch_theme(RequestFactory().post("/ui/theme/", {"theme": "pink"}))
    assert "theme" not in response.cookies
    request = RequestFactory().get("/")
    request.COOKIES["theme"] = "pink"
    assert read_theme(request) == ""


def test_a_link_cannot_switch_it() -> None:
    assert switch_theme(RequestFactory().get("/ui/theme/")).status_code == 405
