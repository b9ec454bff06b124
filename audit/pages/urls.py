"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from audit.pages import documents, entries, erasing, evidence, proving, saving

app_name = "audit"
urlpatterns = [
    path("", entries.ListPage.as_view(), name="list"),
    path("export/", evidence.ExportPage.as_view(), name="export"),
    path("export/byok_verify.py", evidence.VerifierFile.as_view(), name="verifier"),
    path("documents/", documents.ListPage.as_view(), name="documents"),
    path("documents/<uuid:document>/", documents.DetailPage.as_view(), name="document"),
    path("documents/<uuid:document>/bundle.zip", documents.BundleFile.as_view(), name="document-bundle"),
    path("documents/<uuid:document>/document.html", documents.PageFile.as_view(), name="document-page"),
    path("documents/<uuid:document>/document.json", documents.JsonFile.as_view(), name="document-json"),
    path("erase/", erasing.ErasePage.as_view(), name="erase"),
    path("save.csv", saving.SaveTable.as_view(), name="save-csv"),
    path("save.jsonl", saving.SaveLines.as_view(), name="save-jsonl"),
    path("<uuid:event>/entry.json", proving.EntryFile.as_view(), name="entry-file"),
    path("<uuid:event>/entry.tlog-proof", proving.ProofFile.as_view(), name="proof-file"),
    path("<uuid:event>/", entries.DetailPage.as_view(), name="detail"),
]
