"""Placeholder: filled by the session that builds campaigns."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0010_incidents")]
    operations: ClassVar = []
