"""Renders any template as a signed-out visitor would get it, whatever the settings in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.template.backends.django import DjangoTemplates
from django.test import RequestFactory

ROOT = Path(__file__).resolve().parents[2]


def make_engine() -> DjangoTemplates:
    processors = ["django.template.context_processors.request", "byok_portal.ui.theme.theme"]
    options = {"context_processors": processors, "string_if_invalid": ""}
    return DjangoTemplates(
        {"NAME": "ui", "DIRS": [ROOT / "templates"], "APP_DIRS": True, "OPTIONS": options},
    )


def render(template: str, context: dict[str, Any], *, theme: str = "") -> str:
    request = RequestFactory().get("/t/acme/keys/")
    if theme:
        request.COOKIES["theme"] = theme
    return str(make_engine().get_template(template).render(context, request))
