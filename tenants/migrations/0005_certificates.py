"""A finished offboarding knows its certificate: of one subject there may be several ends, each with its own."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

from byok_portal.boundary.schema import TenantForeignKey

# What was issued before says itself which run it is of.
_FIND = """
UPDATE tenants_offboarding o SET certificate_id = (
  SELECT d.id FROM audit_document d
  WHERE d.tenant_id = o.tenant_id AND d.subject_id = o.subject_id AND d.kind = 'offboarding_certificate'
    AND d.body::json #>> '{statement,run}' = o.id::text
  ORDER BY d.created_at DESC, d.id DESC LIMIT 1)
WHERE o.state = 'done'
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenants", "0004_projects"), ("audit", "0006_documents")]
    operations: ClassVar = [
        migrations.AddField(
            "Offboarding",
            "certificate",
            models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.document",
            ),
        ),
        migrations.RunSQL(_FIND, migrations.RunSQL.noop),
        TenantForeignKey("Offboarding", "certificate_id", "audit_document"),
    ]
