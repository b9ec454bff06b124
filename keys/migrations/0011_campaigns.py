"""Recertification: campaigns, their questions, and what owners confirmed."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

import byok_portal.boundary.identifiers
import keys.policies
import keys.states
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
# What is not confirmed, of every tenant, as `directory_due_reminders` finds the other deadlines: ids and days, no name.
_DUE = """
WITH own AS MATERIALIZED (
  SELECT p.tenant_id, max(d::integer) AS days
  FROM keys_policy p CROSS JOIN LATERAL jsonb_array_elements_text(p.rules -> 'reminder_days') d GROUP BY p.tenant_id
)
SELECT i.tenant_id, 'confirmation', i.id, i.due_on FROM keys_campaignitem i
JOIN keys_campaign c ON c.tenant_id = i.tenant_id AND c.id = i.campaign_id AND c.state <> 'cancelled'
JOIN keys_key k ON k.tenant_id = i.tenant_id AND k.id = i.key_id AND k.state IN ('active', 'suspended')
JOIN tenants_tenant t ON t.id = i.tenant_id AND t.state IN ('active', 'suspended')
LEFT JOIN own ON own.tenant_id = i.tenant_id
WHERE i.state IN ('waiting', 'not_mine') AND i.due_on <= today + greatest(horizon, own.days)
  AND NOT EXISTS (SELECT FROM tenants_reminder r WHERE r.tenant_id = i.tenant_id AND r.kind = 'confirmation'
                  AND r.subject_id = i.id AND r.due_on = i.due_on AND (r.next_on IS NULL OR r.next_on > today))
ORDER BY i.tenant_id, i.due_on, i.id LIMIT at_most
"""
# Tenants with a key that is to be confirmed soon by policy and that nobody has been asked about yet. In no order of
# their own: some are found each time although nothing is due by their own policy, and must not hide the rest.
_UNASKED = """
SELECT found.tenant_id FROM (SELECT DISTINCT k.tenant_id FROM keys_key k
JOIN tenants_tenant t ON t.id = k.tenant_id AND t.state IN ('active', 'suspended')
WHERE k.state IN ('active', 'suspended') AND k.recertify_due_at <= moment
  AND NOT EXISTS (SELECT FROM keys_campaignitem i JOIN keys_campaign c ON c.tenant_id = i.tenant_id AND c.id = i.campaign_id
                  WHERE i.tenant_id = k.tenant_id AND i.key_id = k.id AND i.state <> 'confirmed'
                  AND (c.state = 'open' OR (i.due_at >= k.recertify_due_at AND (c.by_policy OR c.state = 'closed'))))
) found ORDER BY random() LIMIT at_most
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("keys", "0010_incidents"), ("tenants", "0003_notices")]
    operations: ClassVar = [
        migrations.AlterField(
            model_name="acceptance",
            name="kind",
            field=models.CharField(
                choices=[
                    ("shared_secret", "Shared secret"),
                    ("no_backup_owner", "No backup owner"),
                    ("overdue", "Overdue"),
                    ("rotation_wanted", "Rotation wanted"),
                    ("proof_expired", "Proof expired"),
                    ("excess_privilege", "Excess privilege"),
                    ("dormant", "Dormant"),
                    ("unused_scopes", "Unused scopes"),
                    ("several_consumers", "Several consumers"),
                    ("not_recertified", "Not recertified"),
                    ("live_outside_production", "Live outside production"),
                    ("drill_overdue", "Drill overdue"),
                    ("drill_failed", "Drill failed"),
                    ("end_passed", "End passed"),
                ],
                max_length=30,
            ),
        ),
        migrations.AddField(
            model_name="key",
            name="recertify_due_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When its policy wants an owner to confirm it again; kept as the one above.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(("state__in", ["active", "suspended"])),
                fields=["recertify_due_at"],
                name="keys_key_recertify",
            ),
        ),
        migrations.CreateModel(
            name="Campaign",
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
                ("name", models.CharField(max_length=120)),
                (
                    "selection",
                    models.CharField(
                        help_text="Which keys: all, environment, provider, risk or policy.", max_length=12
                    ),
                ),
                (
                    "value",
                    models.CharField(blank=True, help_text="The environment or the provider's slug.", max_length=60),
                ),
                ("due_on", models.DateField(help_text="The last day to answer.")),
                (
                    "consequence",
                    models.CharField(
                        choices=[("notify", "Notify"), ("block_grants", "Block grants"), ("suspend", "Suspend")],
                        default=keys.policies.Overdue["NOTIFY"],
                        max_length=12,
                    ),
                ),
                ("by_policy", models.BooleanField(default=False)),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("closed", "Closed"), ("cancelled", "Cancelled")],
                        default=keys.states.CampaignState["OPEN"],
                        max_length=10,
                    ),
                ),
                ("started_by_id", models.UUIDField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("note", models.CharField(blank=True, max_length=500)),
            ],
        ),
        migrations.CreateModel(
            name="CampaignItem",
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
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("confirmed", "Confirmed"),
                            ("change_needed", "Change needed"),
                            ("not_mine", "Not mine"),
                        ],
                        default=keys.states.ItemState["WAITING"],
                        max_length=14,
                    ),
                ),
                ("due_on", models.DateField()),
                (
                    "due_at",
                    models.DateTimeField(help_text="From when its campaign's consequence holds without an answer."),
                ),
                ("answered_by_id", models.UUIDField(blank=True, null=True)),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                ("note", models.CharField(blank=True, max_length=500)),
            ],
        ),
        migrations.CreateModel(
            name="Confirmation",
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
                ("confirmed_by_id", models.UUIDField()),
                (
                    "digest",
                    models.CharField(help_text="Of `facts`: equal means that nothing has changed.", max_length=64),
                ),
                (
                    "facts",
                    models.JSONField(help_text="Purpose, scopes and who may use the key, as the owner saw them."),
                ),
            ],
        ),
        migrations.AddField(
            model_name="campaign",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="campaignitem",
            name="campaign",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="items",
                to="keys.campaign",
            ),
        ),
        migrations.AddField(
            model_name="campaignitem",
            name="key",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="keys.key",
            ),
        ),
        migrations.AddField(
            model_name="campaignitem",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="confirmation",
            name="key",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="keys.key",
            ),
        ),
        migrations.AddField(
            model_name="confirmation",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddIndex(
            model_name="campaign",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="keys_campaign_recent"),
        ),
        migrations.AddConstraint(
            model_name="campaign",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "closed", "cancelled"])), name="keys_campaign_state"
            ),
        ),
        migrations.AddIndex(
            model_name="campaignitem",
            index=models.Index(fields=["tenant", "key", "state"], name="keys_campaignitem_key"),
        ),
        migrations.AddIndex(
            model_name="campaignitem",
            index=models.Index(
                condition=models.Q(("state", "confirmed"), _negated=True),
                fields=["due_on"],
                name="keys_campaignitem_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="campaignitem",
            constraint=models.UniqueConstraint(fields=("tenant", "campaign", "key"), name="keys_campaignitem_once"),
        ),
        migrations.AddConstraint(
            model_name="campaignitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "waiting"), ("answered_at__isnull", False), _connector="OR"),
                name="keys_campaignitem_answered",
            ),
        ),
        migrations.AddConstraint(
            model_name="campaignitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["waiting", "confirmed", "change_needed", "not_mine"])),
                name="keys_campaignitem_state",
            ),
        ),
        migrations.AddIndex(
            model_name="confirmation",
            index=models.Index(fields=["tenant", "key", "-created_at"], name="keys_confirmation_key"),
        ),
        TenantTable("Campaign", grants=_WRITE),
        TenantTable("CampaignItem", grants=_WRITE),
        TenantTable("Confirmation", grants={APP: "SELECT, INSERT", STAFF: "SELECT"}),
        ForeignKeyTo("Campaign", "tenant_id", "tenants_tenant"),
        ForeignKeyTo("CampaignItem", "tenant_id", "tenants_tenant"),
        ForeignKeyTo("Confirmation", "tenant_id", "tenants_tenant"),
        TenantForeignKey("CampaignItem", "campaign_id", "keys_campaign"),
        TenantForeignKey("CampaignItem", "key_id", "keys_key"),
        TenantForeignKey("Confirmation", "key_id", "keys_key"),
        Transitions("Campaign", allowed={"open": ["closed", "cancelled"]}),
        Transitions(
            "CampaignItem",
            allowed={
                "waiting": ["confirmed", "change_needed", "not_mine"],
                "change_needed": ["confirmed", "not_mine"],
                "not_mine": ["confirmed", "change_needed"],
            },
        ),
        DirectoryFunction(
            "directory_due_confirmations",
            arguments="today date, horizon integer, at_most integer",
            returns="TABLE (tenant_id uuid, kind text, subject_id uuid, due_on date)",
            query=_DUE,
            reads={
                "keys_campaign": "tenant_id, id, state",
                "keys_campaignitem": "tenant_id, id, campaign_id, key_id, state, due_on",
                "keys_key": "tenant_id, id, state, recertify_due_at",
                "keys_policy": "tenant_id, rules",
                "tenants_reminder": "tenant_id, kind, subject_id, due_on, next_on",
                "tenants_tenant": "id, state",
            },
        ),
        DirectoryFunction(
            "directory_unasked_tenants",
            arguments="moment timestamptz, at_most integer",
            returns="TABLE (tenant_id uuid)",
            query=_UNASKED,
            reads={
                "keys_campaign": "tenant_id, id, state, by_policy",
                "keys_campaignitem": "tenant_id, campaign_id, key_id, state, due_at",
                "keys_key": "tenant_id, id, state, recertify_due_at",
                "tenants_tenant": "id, state",
            },
        ),
    ]
