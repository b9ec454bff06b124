"""Placeholder: filled by the session that builds projects."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenants", "0003_notices")]
    operations: ClassVar = []
