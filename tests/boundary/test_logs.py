"""No secret reaches a log line: not from a local variable, not from a path, not from a query string."""

from __future__ import annotations

import io
import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import ResolverMatch, path

from byok_portal.boundary import logs
from byok_portal.boundary.middleware import RequestLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

CANARY = "canary-3f9d1c7e"


@contextmanager
def written(*, plain: bool) -> Iterator[io.StringIO]:
    """What the configured handler writes, by the renderer of production or of the quick start."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    logs.configure(level="INFO", plain=plain)
    handler = next(each for each in root.handlers if type(each) is logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    try:
        yield stream
    finally:
        logs.configure(level="INFO", plain=False)
        root.handlers[:] = before
        root.setLevel(level)


def fail_with_a_secret() -> None:
    plaintext = CANARY[:7] + CANARY[7:]
    # Not in the text of this line, which a traceback shows.
    int("x" + plaintext[:0])


def broken_view(_request: HttpRequest, token: str) -> HttpResponse:
    fail_with_a_secret()
    return HttpResponse(token)


urlpatterns = [
    path("broken/<str:token>/", broken_view),
    path("fine/<str:token>/", lambda _request, token: HttpResponse(str(len(token)))),
]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("source", ["structlog", "stdlib"])
def test_an_exception_is_logged_without_local_variables(*, plain: bool, source: str) -> None:
    secret = "canary-" + "3f9d1c7e"
    with written(plain=plain) as stream:
        try:
            fail_with_a_secret()
        except ValueError:
            if source == "structlog":
                structlog.get_logger("byok.test").exception("failed", tenant="acme")
            else:
                logging.getLogger("byok.test").exception("failed")
    text = stream.getvalue()
    assert "failed" in text
    assert "ValueError" in text
    assert "fail_with_a_secret" in text
    assert secret not in text
    assert "plaintext" not in text.replace("plaintext[:0]", "")


@pytest.mark.parametrize("plain", [False, True])
def test_a_request_is_logged_by_its_route(*, plain: bool) -> None:
    with written(plain=plain) as stream, override_settings(ROOT_URLCONF=__name__):
        answer = Client().get(f"/fine/{CANARY}/?api_key={CANARY}", headers={"Authorization": CANARY})
    assert answer.status_code == 200
    assert CANARY not in stream.getvalue()
    assert "fine/<str:token>/" in stream.getvalue()


@pytest.mark.parametrize("plain", [False, True])
def test_a_failed_request_is_logged_by_its_route(*, plain: bool) -> None:
    with written(plain=plain) as stream, override_settings(ROOT_URLCONF=__name__):
        answer = Client(raise_request_exception=False).get(f"/broken/{CANARY}/?api_key={CANARY}")
    assert answer.status_code == 500
    assert "Internal Server Error: broken/<str:token>/" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_a_forged_form_is_logged_by_its_route() -> None:
    with written(plain=False) as stream, override_settings(ROOT_URLCONF=__name__):
        answer = Client(enforce_csrf_checks=True).post(f"/fine/{CANARY}/", {"password": CANARY})
    assert answer.status_code == 403
    assert "fine/<str:token>/" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_an_address_that_no_route_matches_is_not_logged_either() -> None:
    with written(plain=False) as stream, override_settings(ROOT_URLCONF=__name__):
        assert Client().get(f"/{CANARY}/?{CANARY}").status_code == 404
    lines: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    (request,) = (line for line in lines if line["event"] == "request")
    assert (request["route"], request["status"], request["method"]) == ("unmatched", 404, "GET")
    assert CANARY not in stream.getvalue()


def test_an_invitation_s_token_is_in_no_log(world: Any) -> None:
    with written(plain=False) as stream:
        for method in ("get", "post"):
            getattr(Client(), method)(f"/invitations/{CANARY}/")
            getattr(Client(), method)(f"/invitations/{CANARY}")
    assert CANARY not in stream.getvalue()
    assert "invitations/" in stream.getvalue()


def test_the_line_and_the_answer_carry_the_same_request_id() -> None:
    def answer(request: HttpRequest) -> HttpResponse:
        request.resolver_match = ResolverMatch(answer, (), {}, route="here/")
        return HttpResponse()

    with written(plain=False) as stream:
        response = RequestLog(answer)(RequestFactory().get("/here/"))
    line = json.loads(stream.getvalue())
    assert line["request_id"] == response["X-Request-Id"]
    assert line["route"] == "here/"
    assert "path" not in line
