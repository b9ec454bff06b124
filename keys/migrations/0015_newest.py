"""The order in which staff read lists of every tenant."""

from __future__ import annotations

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0014_gate"),
        ("tenants", "0006_newest"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="grant",
            index=models.Index(fields=["-created_at", "-id"], name="keys_grant_newest"),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(fields=["-created_at", "-id"], name="keys_key_newest"),
        ),
        migrations.AddIndex(
            model_name="proof",
            index=models.Index(fields=["-created_at", "-id"], name="keys_proof_newest"),
        ),
    ]
