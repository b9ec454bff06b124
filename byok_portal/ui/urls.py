"""The one address of the look: the theme switch. Include it at `ui/`."""

from __future__ import annotations

from django.urls import path

from byok_portal.ui.theme import switch_theme

app_name = "ui"
urlpatterns = [path("theme/", switch_theme, name="theme")]
