"""Placeholder: filled by the session that builds documents."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0005_usage_versions")]
    operations: ClassVar = []
