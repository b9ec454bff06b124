"""Placeholder: filled by the session that builds drills."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0011_campaigns")]
    operations: ClassVar = []
