from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("accounts/", include("allauth.account.urls")),
    path("ui/", include("byok_portal.ui.urls")),
    path("staff/", admin.site.urls),
]
