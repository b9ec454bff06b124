"""The public face of the log: checkpoint and tiles in the C2SP paths. Hashes only, so it asks nobody who they are.

Entry bundles hold every tenant's records: they are not served here but written by `manage.py audit_tiles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseNotFound
from django.views.decorators.http import require_safe

from audit import proofs, tiles, tree
from audit.merkle import HASH_BYTES
from audit.models import LogState
from byok_portal.boundary import binding
from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from django.http import HttpRequest

IMMUTABLE = "public, max-age=31536000, immutable"


@require_safe
def checkpoint(_request: HttpRequest) -> HttpResponse:
    """The newest published checkpoint as a signed note."""
    with transaction.atomic(using=binding.get_alias()):
        found = proofs.find_checkpoint()
    if found is None:
        raise Http404
    return HttpResponse(found.note, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-cache"})


@require_safe
def tile(_request: HttpRequest, path: str) -> HttpResponse:
    """One tile of hashes, full or as wide as asked. 404 beyond the published tree."""
    try:
        address = tiles.parse_path(f"tile/{path}")
    except InvalidInput:
        raise Http404 from None
    if isinstance(address.level, str):
        return _no_entries()
    with transaction.atomic(using=binding.get_alias()):
        newest = proofs.find_checkpoint()
        there = (newest.size >> (tiles.HEIGHT * address.level)) if newest else 0
        if address.n * tiles.WIDTH + address.width > there:
            raise Http404
        found = tree.read_tiles(binding.get_alias(), [(address.level, address.n)])
    data = found.get((address.level, address.n), b"")[: address.width * HASH_BYTES]
    if len(data) != address.width * HASH_BYTES:
        raise Http404
    return HttpResponse(data, content_type="application/octet-stream", headers={"Cache-Control": IMMUTABLE})


def _no_entries() -> HttpResponse:
    """C2SP's minimum index, for whoever holds an archive."""
    with transaction.atomic(using=binding.get_alias()):
        first = LogState.objects.get().pruned_to
    text = f"Entries are not served here. Those below index {first} were pruned.\n" if first else "Not served here.\n"
    return HttpResponseNotFound(text, content_type="text/plain; charset=utf-8")
