"""The base of every model that belongs to a tenant. Its manager raises where row-level security would stay silent."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.db import models

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id

_Model_co = TypeVar("_Model_co", bound=models.Model, covariant=True)


class TenantQuerySet(models.QuerySet[_Model_co]):
    """Rows of the bound tenant."""

    def lock(self) -> Self:
        """The same rows, locked until the transaction ends."""
        # NO KEY: a row that refers to this one can be written meanwhile, so foreign keys never deadlock with it.
        return self.select_for_update(of=("self",), no_key=True)


class TenantManager(models.Manager[_Model_co]):
    """Filters by the bound tenant as well as the database does. Staff pages read all tenants as `byok_staff`."""

    def get_queryset(self) -> TenantQuerySet[_Model_co]:
        queryset: TenantQuerySet[_Model_co] = TenantQuerySet(self.model, using=self._db)
        if binding.get_alias() == binding.STAFF or self._db not in (None, *binding.TENANTS):
            return queryset
        return queryset.filter(tenant_id=binding.get_tenant())

    def lock(self) -> TenantQuerySet[_Model_co]:
        """The bound tenant's rows, locked until the transaction ends."""
        return self.get_queryset().lock()


class TenantModel(models.Model):
    """UUIDv7 id, tenant, creation time. In the database the primary key is (tenant_id, id)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(
        "tenants.Tenant",
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="+",
        editable=False,
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A new row takes the bound tenant; it cannot be given another."""
        if self._state.adding and not getattr(self, "tenant_id", None):
            self.tenant_id = binding.get_tenant()
        super().save(*args, **kwargs)


def tenant_link(to: str, *, null: bool = False, related_name: str = "+") -> Any:
    """A foreign key inside the tenant; the real constraint is composite (see `boundary.schema.TenantForeignKey`)."""
    return models.ForeignKey(
        to,
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        null=null,
        blank=null,
        related_name=related_name,
    )
