"""Row-level security, keys, grants and look-up functions of the tenants app."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

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


# The web server signs people in and creates them by invitation; it never makes anybody staff.
_STAFF = """
CREATE FUNCTION tenants_user_staff() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF current_user <> 'byok_owner' AND (NEW.is_staff OR NEW.is_superuser)
     AND (TG_OP = 'INSERT' OR NOT OLD.is_staff OR NEW.is_superuser <> OLD.is_superuser) THEN
    RAISE EXCEPTION 'only byok_owner makes somebody staff' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION tenants_user_staff() FROM PUBLIC;
CREATE TRIGGER staff BEFORE INSERT OR UPDATE ON tenants_user FOR EACH ROW EXECUTE FUNCTION tenants_user_staff();
"""
_NO_STAFF = "DROP TRIGGER staff ON tenants_user; DROP FUNCTION tenants_user_staff();"


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenants", "0001_initial")]
    operations: ClassVar = [
        TenantTable("Tenant", grants=_WRITE, key=("id",)),
        Transitions(
            "Tenant",
            allowed={
                "onboarding": ["active", "offboarding"],
                "active": ["suspended", "offboarding"],
                "suspended": ["active", "offboarding"],
                "offboarding": ["offboarded"],
            },
        ),
        *(
            operation
            for model in (
                "Membership",
                "Invitation",
                "Consumer",
                "ConsumerToken",
                "Offboarding",
                "OffboardingStep",
            )
            for operation in (TenantTable(model, grants=_WRITE), ForeignKeyTo(model, "tenant_id", "tenants_tenant"))
        ),
        ForeignKeyTo("Membership", "user_id", "tenants_user"),
        ForeignKeyTo("Invitation", "user_id", "tenants_user"),
        TenantForeignKey("ConsumerToken", "consumer_id", "tenants_consumer"),
        TenantForeignKey("OffboardingStep", "offboarding_id", "tenants_offboarding"),
        migrations.RunSQL(_STAFF, _NO_STAFF),
        Transitions("Consumer", allowed={"active": ["ended"]}),
        Transitions("Offboarding", allowed={"running": ["done"]}),
        Transitions(
            "OffboardingStep",
            allowed={
                "pending": ["running", "calling"],
                "running": ["done"],
                "calling": ["done", "residual"],
            },
        ),
        DirectoryFunction(
            "directory_memberships",
            arguments="person uuid",
            returns="TABLE (tenant_id uuid, slug text, name text, role text, state text)",
            query=(
                "SELECT t.id, t.slug, t.name, m.role, t.state FROM tenants_membership m "
                "JOIN tenants_tenant t ON t.id = m.tenant_id WHERE m.user_id = person AND m.is_active ORDER BY t.slug"
            ),
            reads={
                "tenants_tenant": "id, slug, name, state",
                "tenants_membership": "tenant_id, user_id, role, is_active",
            },
        ),
        DirectoryFunction(
            "directory_token",
            arguments="token_digest bytea",
            returns="TABLE (tenant_id uuid, consumer_id uuid, id uuid)",
            query="SELECT k.tenant_id, k.consumer_id, k.id FROM tenants_consumertoken k WHERE k.digest = token_digest",
            reads={"tenants_consumertoken": "tenant_id, consumer_id, id, digest"},
        ),
        DirectoryFunction(
            "directory_invitation",
            arguments="token_digest bytea",
            returns="TABLE (tenant_id uuid, id uuid)",
            query="SELECT i.tenant_id, i.id FROM tenants_invitation i WHERE i.digest = token_digest",
            reads={"tenants_invitation": "tenant_id, id, digest"},
        ),
        DirectoryFunction(
            "directory_due_heartbeats",
            arguments="today date, at_most integer",
            returns="TABLE (tenant_id uuid)",
            query=(
                "SELECT t.id FROM tenants_tenant t WHERE t.state <> 'offboarded' "
                "AND (t.heartbeat_on IS NULL OR t.heartbeat_on < today) ORDER BY t.id LIMIT at_most"
            ),
            reads={"tenants_tenant": "id, slug, name, state, heartbeat_on"},
        ),
    ]
