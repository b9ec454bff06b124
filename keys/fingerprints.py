"""Keyed fingerprints of credentials, to find reuse and match leaks. Must never be shown by any door.

The exact bytes are hashed, nothing trimmed or folded: two credentials may differ by a space.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final

from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from byok_portal.boundary.secrets import Secret

FINGERPRINT_BYTES: Final = 32
PEPPER_BYTES: Final = 32

_TENANT_DOMAIN: Final = b"byok/fingerprint/tenant/v1\0"
_GLOBAL_DOMAIN: Final = b"byok/fingerprint/global/v1\0"
# No NUL can be in a slug, so the NUL after it ends it: no (provider, credential) pair reads as another.
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def tenant_fingerprint(plaintext: Secret, *, pepper: Secret, provider: str) -> bytes:
    """32 bytes, equal when one tenant registers the same credential of a provider twice."""
    return _fingerprint(_TENANT_DOMAIN, plaintext, pepper=pepper, provider=provider)


def global_fingerprint(plaintext: Secret, *, pepper: Secret, provider: str) -> bytes:
    """32 bytes, equal across tenants: for reuse across tenants and for leak reports."""
    return _fingerprint(_GLOBAL_DOMAIN, plaintext, pepper=pepper, provider=provider)


def _fingerprint(domain: bytes, plaintext: Secret, *, pepper: Secret, provider: str) -> bytes:
    if len(pepper) < PEPPER_BYTES:
        message = "a pepper has at least 32 bytes"
        raise InvalidInput(message, field="pepper")
    if not _SLUG.fullmatch(provider):
        message = "the provider is named by its slug"
        raise InvalidInput(message, field="provider")
    return hmac.digest(pepper.reveal(), domain + provider.encode() + b"\0" + plaintext.reveal(), "sha256")
