"""Registers the template tag library `ui` with Django; holds no models."""

from __future__ import annotations

from django.apps import AppConfig


class UiConfig(AppConfig):
    """Label `ui`; nothing but presentation."""

    name = "byok_portal.ui"
    label = "ui"
    verbose_name = "User interface"
