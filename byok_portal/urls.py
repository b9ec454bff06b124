"""All addresses: the web UI, the API, the staff admin, health."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from audit import log_views
from byok_portal import demo_mailbox, health
from byok_portal.api_urls import urlpatterns as api_patterns

handler400 = "byok_portal.errors_pages.bad_request"
handler404 = "byok_portal.errors_pages.not_found"
handler500 = "byok_portal.errors_pages.server_error"

urlpatterns = [
    # First, because a pattern costs time whenever it is tried in vain, and programs call more often than people.
    path("api/v1/", include((api_patterns, "api"))),
    # Answers 404 unless this is a quick start.
    path("demo/mailbox/", demo_mailbox.show, name="demo-mailbox"),
    path("", include("tenants.pages.urls")),
    path("t/<slug:tenant>/", include("keys.pages.urls")),
    path("t/<slug:tenant>/audit/", include("audit.pages.urls")),
    path("accounts/", include("byok_portal.account_urls")),
    path("ui/", include("byok_portal.ui.urls")),
    path("staff/", admin.site.urls),
    path("log/checkpoint", log_views.checkpoint, name="log-checkpoint"),
    path("log/tile/<path:path>", log_views.tile, name="log-tile"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]
