"""What retention needs: where its own entry is, and the one way past the guard of personal data that it may take."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

# The owner could switch the trigger off, but that would lock the table that every event is recorded in.
_ALLOW = """
CREATE OR REPLACE FUNCTION audit_refuse_unless_app() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF current_user <> 'byok_app'
     AND NOT (current_user = 'byok_owner' AND current_setting('app.pruning', true) IS NOT DISTINCT FROM 'on') THEN
    RAISE EXCEPTION '%: only an erasure may %', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NULL;
END $$;
"""
_REFUSE = """
CREATE OR REPLACE FUNCTION audit_refuse_unless_app() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF current_user <> 'byok_app' THEN
    RAISE EXCEPTION '%: only an erasure may %', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0002_guards")]
    operations: ClassVar = [
        migrations.AddField(
            model_name="logstate",
            name="pruned_record",
            field=models.BigIntegerField(help_text="Position of the entry that records the removal.", null=True),
        ),
        migrations.AddField(
            model_name="logstate",
            name="pruned_leaf",
            field=models.TextField(blank=True, default="", help_text="That entry, which every tenant's export quotes."),
            preserve_default=False,
        ),
        migrations.RunSQL(_ALLOW, _REFUSE),
    ]
