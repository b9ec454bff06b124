"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from audit.pages import entries

app_name = "audit"
urlpatterns = [
    path("", entries.ListPage.as_view(), name="list"),
    path("<uuid:event>/", entries.DetailPage.as_view(), name="detail"),
]
