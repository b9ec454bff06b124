"""The provider catalogue in the database: synced from the files at migrate, added to and switched by staff."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput
from keys.catalogue import ProviderEntry, digest, load_catalogue, parse_entry, to_document
from keys.models import Provider

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

_NO_API = Absent("the catalogue is edited by platform staff, in the staff admin")


def sync_catalogue(*, using: str, **_signal: Any) -> None:
    """`post_migrate` receiver: write the shipped entries. What staff switched or added stays."""
    if using != "owner":
        return
    for entry in load_catalogue().values():
        shipped = {"name": entry.name, "document": to_document(entry), "digest": digest(entry)}
        provider, created = Provider.objects.using(using).get_or_create(
            slug=entry.slug,
            defaults={**shipped, "source": "catalogue", "allow_private_networks": entry.private_networks},
        )
        if not created and provider.source == "catalogue" and provider.digest != shipped["digest"]:
            Provider.objects.using(using).filter(id=provider.id).update(**shipped)


def entry_of(provider: Provider) -> ProviderEntry:
    """The provider's parsed entry. Cached by its digest, which is read with the row: it can never be stale."""
    return parse_document(provider.digest, json.dumps(provider.document, sort_keys=True))


@functools.lru_cache(maxsize=256)
def parse_document(_digest: str, document: str) -> ProviderEntry:
    """The entry in a provider's stored document, by the digest that was read with it."""
    return parse_entry(json.loads(document))


@operation(
    "provider.add",
    permission=Permission.PROVIDER_EDIT,
    events=("provider.added",),
    page="admin:keys_provider_add",
    api=_NO_API,
    alias=binding.STAFF,
)
def add_provider(*, actor: Actor, document: dict[str, Any], allow_private_networks: bool) -> Provider:
    """Add an entry of staff's own. Raises InvalidInput naming the entry's field and rule."""
    entry = parse_entry(document)
    if Provider.objects.filter(slug=entry.slug).exists():
        raise InvalidInput("Slug is taken by another provider.", code="slug_taken", field="document")
    provider = Provider(slug=entry.slug, source="staff", allow_private_networks=allow_private_networks)
    return _save(actor, provider, entry, event="provider.added")


@operation(
    "provider.edit",
    permission=Permission.PROVIDER_EDIT,
    events=("provider.edited",),
    page="admin:keys_provider_change",
    api=_NO_API,
    alias=binding.STAFF,
)
def edit_provider(
    *,
    actor: Actor,
    provider_id: UUID,
    is_enabled: bool,
    allow_private_networks: bool,
    document: dict[str, Any] | None = None,
) -> Provider:
    """Switch a provider, or change an entry that staff added. Shipped entries keep their document."""
    provider = Provider.objects.select_for_update().get(id=provider_id)
    entry = entry_of(provider)
    if document is not None and document != provider.document:
        if provider.source == "catalogue":
            raise Conflict("A shipped entry changes with the release, not by hand.", code="catalogue_entry")
        entry = parse_entry(document)
        if entry.slug != provider.slug:
            raise InvalidInput("Slug cannot change: keys refer to it.", code="slug_fixed", field="document")
    provider.is_enabled, provider.allow_private_networks = is_enabled, allow_private_networks
    return _save(actor, provider, entry, event="provider.edited")


def _save(actor: Actor, provider: Provider, entry: ProviderEntry, *, event: str) -> Provider:
    provider.name, provider.document, provider.digest = entry.name, to_document(entry), digest(entry)
    provider.save()
    detail = {
        "slug": provider.slug,
        "digest": provider.digest,
        "is_enabled": provider.is_enabled,
        "allow_private_networks": provider.allow_private_networks,
    }
    append(actor=actor, action=event, target=Target("provider", provider.id), detail=detail)
    return provider
