"""Notices, mails, preferences, reminders; the look-ups of the two clocks that find what is due in any tenant."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import byok_portal.boundary.identifiers
from byok_portal.boundary.schema import (
    APP,
    STAFF,
    DirectoryFunction,
    ForeignKeyTo,
    TenantForeignKey,
    TenantTable,
    Transitions,
)

_WRITE = {APP: "SELECT, INSERT, UPDATE", STAFF: "SELECT"}

# Every deadline of every tenant up to a day: ids and days, no name. `keys.deadlines` looks at each again in its tenant.
_DEADLINES = """
SELECT k.tenant_id, 'key_end' AS kind, k.id AS subject_id, k.ends_on AS due_on
FROM keys_key k WHERE k.state IN ('active', 'suspended') AND k.ends_on <= (SELECT last FROM farthest)
UNION ALL
SELECT k.tenant_id, 'rotation', k.id, (k.rotation_due_at AT TIME ZONE 'UTC')::date
FROM keys_key k WHERE k.state IN ('active', 'suspended')
  AND k.rotation_due_at < ((SELECT last + 1 FROM farthest)::timestamp AT TIME ZONE 'UTC')
UNION ALL
SELECT v.tenant_id, 'credential', v.id, (v.expires_at AT TIME ZONE 'UTC')::date
FROM keys_keyversion v JOIN keys_key k ON k.tenant_id = v.tenant_id AND k.id = v.key_id
WHERE v.state IN ('active', 'suspended', 'expired') AND k.state IN ('active', 'suspended')
  AND v.expires_at < ((SELECT last + 1 FROM farthest)::timestamp AT TIME ZONE 'UTC')
  AND NOT EXISTS (SELECT FROM keys_keyversion later WHERE later.tenant_id = v.tenant_id AND later.key_id = v.key_id
                  AND later.number > v.number AND later.state IN ('active', 'suspended'))
UNION ALL
SELECT g.tenant_id, 'grant_end', g.id, (g.expires_at AT TIME ZONE 'UTC')::date
FROM keys_grant g JOIN keys_key k ON k.tenant_id = g.tenant_id AND k.id = g.key_id
WHERE g.state = 'active' AND k.state IN ('active', 'suspended') AND g.expires_at >= (today::timestamp AT TIME ZONE 'UTC')
  AND g.expires_at < ((SELECT last + 1 FROM farthest)::timestamp AT TIME ZONE 'UTC')
UNION ALL
SELECT p.tenant_id, 'proof', p.id, (p.expires_at AT TIME ZONE 'UTC')::date
FROM keys_proof p JOIN keys_keyversion v ON v.tenant_id = p.tenant_id AND v.id = p.version_id
WHERE v.state IN ('active', 'suspended')
  AND p.expires_at < ((SELECT last + 1 FROM farthest)::timestamp AT TIME ZONE 'UTC')
  AND NOT EXISTS (SELECT FROM keys_proof later WHERE later.tenant_id = p.tenant_id AND later.key_id = p.key_id
                  AND later.version_id = p.version_id AND later.expires_at > p.expires_at)
UNION ALL
SELECT t.id, 'contract', t.id, t.contract_ends_on
FROM tenants_tenant t WHERE t.contract_ends_on <= (SELECT last FROM farthest)
"""
# `horizon`: days ahead that the platform asks for; a tenant's own policies may look farther, for that tenant alone.
_DUE = f"""
WITH own AS MATERIALIZED (
  SELECT p.tenant_id, max(d::integer) AS days
  FROM keys_policy p CROSS JOIN LATERAL jsonb_array_elements_text(p.rules -> 'reminder_days') d GROUP BY p.tenant_id
), farthest AS MATERIALIZED (SELECT today + greatest(horizon, max(days)) AS last FROM own)
SELECT d.tenant_id, d.kind, d.subject_id, d.due_on FROM ({_DEADLINES}) d
JOIN tenants_tenant t ON t.id = d.tenant_id AND t.state IN ('active', 'suspended')
LEFT JOIN own ON own.tenant_id = d.tenant_id
WHERE d.due_on <= today + greatest(horizon, own.days)
  AND NOT EXISTS (SELECT FROM tenants_reminder r WHERE r.tenant_id = d.tenant_id AND r.kind = d.kind
                  AND r.subject_id = d.subject_id AND r.due_on = d.due_on AND (r.next_on IS NULL OR r.next_on > today))
ORDER BY d.tenant_id, d.due_on, d.subject_id, d.kind LIMIT at_most
"""  # noqa: S608  # both parts are constants
_INDEXES = """
CREATE INDEX keys_key_rotation_deadline ON keys_key (rotation_due_at) WHERE state IN ('active', 'suspended');
CREATE INDEX keys_version_deadline ON keys_keyversion (expires_at) WHERE state IN ('active', 'suspended', 'expired');
CREATE INDEX keys_proof_deadline ON keys_proof (expires_at);
"""
_NO_INDEXES = "DROP INDEX keys_key_rotation_deadline, keys_version_deadline, keys_proof_deadline;"


class Migration(migrations.Migration):
    # The deadlines are read where they stand; no table of keys is changed.
    dependencies: ClassVar = [("tenants", "0002_guards"), ("keys", "0006_policies")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Mail",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=byok_portal.boundary.identifiers.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[("notices", "Notices"), ("invitation", "Invitation")], default="notices", max_length=12
                    ),
                ),
                (
                    "recipient_kind",
                    models.CharField(
                        choices=[("person", "Person"), ("consumer", "Consumer")], default="person", max_length=10
                    ),
                ),
                ("recipient_id", models.UUIDField()),
                ("is_digest", models.BooleanField(default=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting"),
                            ("unconfirmed", "Not confirmed"),
                            ("sent", "Sent"),
                            ("dropped", "Not sent"),
                        ],
                        default="queued",
                        max_length=12,
                    ),
                ),
                (
                    "attempts_allowed",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="Of the job when it claimed the mail: a person who retries the job raises it.",
                    ),
                ),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                (
                    "last_error",
                    models.CharField(blank=True, help_text="Error type or code, never its text.", max_length=60),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=byok_portal.boundary.identifiers.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "recipient_kind",
                    models.CharField(
                        choices=[("person", "Person"), ("consumer", "Consumer")], default="person", max_length=10
                    ),
                ),
                ("recipient_id", models.UUIDField()),
                ("kind", models.CharField(max_length=40)),
                ("subject_kind", models.CharField(max_length=20)),
                ("subject_id", models.UUIDField()),
                ("dedupe", models.CharField(max_length=160)),
                ("facts", models.JSONField(default=dict)),
                (
                    "channel",
                    models.CharField(
                        choices=[
                            ("portal", "Inbox only"),
                            ("digest", "In a digest"),
                            ("at_once", "By mail at once"),
                        ],
                        default="portal",
                        max_length=10,
                    ),
                ),
                ("mail_at", models.DateTimeField(blank=True, null=True)),
                ("read_at", models.DateTimeField(blank=True, null=True)),
                (
                    "mail",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.mail",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="NoticePreference",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=byok_portal.boundary.identifiers.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("kind", models.CharField(max_length=40)),
                (
                    "channel",
                    models.CharField(
                        choices=[("portal", "Inbox only"), ("digest", "In a digest"), ("at_once", "By mail at once")],
                        max_length=10,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Reminder",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=byok_portal.boundary.identifiers.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("kind", models.CharField(max_length=20)),
                ("subject_id", models.UUIDField()),
                ("due_on", models.DateField()),
                ("stage", models.SmallIntegerField()),
                ("next_on", models.DateField(blank=True, null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(fields=["tenant", "recipient_id", "-created_at"], name="tenants_mail_recent"),
        ),
        migrations.AddConstraint(
            model_name="mail",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["queued", "unconfirmed", "sent", "dropped"])),
                name="tenants_mail_state",
            ),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(fields=["tenant", "recipient_id", "-created_at", "-id"], name="tenants_notice_inbox"),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(
                condition=models.Q(("read_at__isnull", True)),
                fields=["tenant", "recipient_id"],
                name="tenants_notice_unread",
            ),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(
                condition=models.Q(("mail__isnull", True), ("mail_at__isnull", False)),
                fields=["mail_at"],
                name="tenants_notice_unmailed",
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.UniqueConstraint(fields=("tenant", "recipient_id", "dedupe"), name="tenants_notice_once"),
        ),
        migrations.AddConstraint(
            model_name="noticepreference",
            constraint=models.UniqueConstraint(fields=("tenant", "user", "kind"), name="tenants_preference_once"),
        ),
        migrations.AddConstraint(
            model_name="reminder",
            constraint=models.UniqueConstraint(
                fields=("tenant", "kind", "subject_id", "due_on"), name="tenants_reminder_once"
            ),
        ),
        TenantTable("Notice", grants=_WRITE),
        TenantTable("Mail", grants=_WRITE),
        TenantTable("NoticePreference", grants={APP: "SELECT, INSERT, UPDATE, DELETE"}),
        TenantTable("Reminder", grants=_WRITE),
        # Notices and mails of platform staff stand under the platform's own id, which is no tenant.
        TenantForeignKey("Notice", "mail_id", "tenants_mail"),
        ForeignKeyTo("NoticePreference", "tenant_id", "tenants_tenant"),
        ForeignKeyTo("NoticePreference", "user_id", "tenants_user"),
        ForeignKeyTo("Reminder", "tenant_id", "tenants_tenant"),
        Transitions(
            "Mail",
            allowed={
                "queued": ["unconfirmed", "dropped"],
                # Back to the queue: the mail server is known not to have taken it.
                "unconfirmed": ["queued", "sent", "dropped"],
            },
        ),
        migrations.RunSQL(_INDEXES, _NO_INDEXES),
        DirectoryFunction(
            "directory_due_mails",
            arguments="moment timestamptz, at_most integer",
            returns="TABLE (tenant_id uuid, recipient_id uuid)",
            query=(
                "SELECT DISTINCT n.tenant_id, n.recipient_id FROM tenants_notice n "
                "WHERE n.mail_id IS NULL AND n.mail_at <= moment LIMIT at_most"
            ),
            reads={"tenants_notice": "tenant_id, recipient_id, mail_at, mail_id"},
        ),
        DirectoryFunction(
            "directory_due_reminders",
            arguments="today date, horizon integer, at_most integer",
            returns="TABLE (tenant_id uuid, kind text, subject_id uuid, due_on date)",
            query=_DUE,
            reads={
                "keys_key": "tenant_id, id, state, ends_on, rotation_due_at",
                "keys_keyversion": "tenant_id, id, key_id, number, state, expires_at",
                "keys_grant": "tenant_id, id, key_id, state, expires_at",
                "keys_policy": "tenant_id, rules",
                "keys_proof": "tenant_id, id, key_id, version_id, expires_at",
                "tenants_tenant": "id, state, contract_ends_on",
                "tenants_reminder": "tenant_id, kind, subject_id, due_on, next_on",
            },
        ),
    ]
