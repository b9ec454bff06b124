"""What the gate knows by that nothing has changed which a use is decided on (decision 0018)."""

from __future__ import annotations

from django.db import migrations, models

from byok_portal.boundary.revisions import NOTE

_SETTINGS = """
ALTER TABLE boundary_revision SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("boundary", "0003_newest"),
    ]

    operations = [
        migrations.CreateModel(
            name="Revision",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("id", models.UUIDField()),
                ("changed_by", models.BigIntegerField(help_text="The transaction; one notes itself once.")),
                ("changed_at", models.DateTimeField(help_text="When it began.")),
            ],
            options={"db_table": "boundary_revision"},
        ),
        migrations.RunSQL(NOTE, "DROP FUNCTION boundary_note_revision();"),
        migrations.RunSQL(_SETTINGS, migrations.RunSQL.noop),
    ]
