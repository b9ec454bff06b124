"""A tenant's data keys, and sealing and opening credentials under them. Must never cache a data key's state.

The state of the data key is read in the same statement as the ciphertext, so nothing outlives a revoke or a shred.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import connections
from django.utils import timezone

from audit.models import DataKey as AuditDataKey
from byok_portal.boundary import binding
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, Unavailable
from keys.envelope import (
    DataKey,
    SecretAddress,
    dek_aad,
    key_commitment,
    open_blob,
    seal,
    verify_key_commitment,
)
from keys.fingerprints import global_fingerprint, tenant_fingerprint
from keys.models import Material, TenantKey
from keys.states import DataKeyState
from keys.wrappers import ShredStatement, Wrapped, register
from keys.wrappers.local import LocalWrapper

if TYPE_CHECKING:
    from uuid import UUID

    from keys.models import KeyVersion

_GLOBAL_PEPPER: Final = b"byok/fingerprint/global"
_AUDIT: Final = "audit"
_OPENING: Final = frozenset({DataKeyState.ACTIVE.value, DataKeyState.RETIRED.value})

FindDataKey = Callable[["UUID", int, str, str, bytes, bytes], DataKey]
"""As `data_key_of`."""

_SEALED: Final = """
SELECT m.blob, d.version, d.wrapper, d.kek_ref, d.wrapped, d.kcv, d.state
FROM keys_material m
JOIN keys_keyversion v ON v.tenant_id = m.tenant_id AND v.id = m.version_id
JOIN keys_tenantkey d ON d.tenant_id = v.tenant_id AND d.purpose = 'secret' AND d.version = v.dek_version
WHERE m.tenant_id = %s AND m.version_id = %s
"""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A credential as stored, with the data key that opens it, as one statement read them."""

    blob: bytes
    dek_version: int
    wrapper: str
    kek_ref: str
    wrapped: bytes | None
    kcv: bytes
    state: str


@dataclass(frozen=True, slots=True)
class AuditKey:
    """A tenant's audit data key, unwrapped: what personal data beside its audit entries is sealed under."""

    version: int
    kcv: bytes
    material: Secret
    cipher: AESGCM = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cipher", AESGCM(self.material.reveal()))


@functools.cache
def local_wrapper() -> LocalWrapper:
    """The ring of the configured key file. Raises Unavailable without one: there is no default key."""
    if not settings.KEY_FILE:
        message = "BYOK_KEY_FILE is not set, so nothing can be sealed or opened"
        raise Unavailable(message)
    wrapper = LocalWrapper.from_file(settings.KEY_FILE)
    register.add(wrapper)
    return wrapper


def seal_version(plaintext: Secret, *, key_id: UUID, number: int) -> tuple[int, bytes]:
    """(data key version, blob) of a new version. Runs inside the operation's transaction."""
    row = _get_or_create(TenantKey.Purpose.SECRET)
    dek = DataKey(version=row.version, material=_unwrap(row, purpose=TenantKey.Purpose.SECRET.value))
    address = SecretAddress(tenant_id=binding.get_tenant(), key_id=key_id, key_version=number)
    return row.version, seal(plaintext, dek=dek, address=address)


def read_sealed(version_id: UUID) -> Sealed | None:
    """Ciphertext and data key state of a version in one statement, or None when it was destroyed."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute(_SEALED, [binding.get_tenant(), version_id])
        row = cursor.fetchone()
    if row is None:
        return None
    blob, number, wrapper, kek_ref, wrapped, kcv, state = row
    return Sealed(bytes(blob), number, wrapper, kek_ref, bytes(wrapped) if wrapped else None, bytes(kcv), state)


def open_sealed(sealed: Sealed, *, key_id: UUID, number: int) -> Secret:
    """The plaintext. Raises Unavailable for a revoked or shredded data key, IntegrityError for any difference."""
    return open_of(binding.get_tenant(), sealed, key_id=key_id, number=number)


def open_of(tenant_id: UUID, sealed: Sealed, *, key_id: UUID, number: int, find: FindDataKey | None = None) -> Secret:
    """As `open_sealed`, of a named tenant. `find`: one that remembers, for whoever reads the state each time."""
    if sealed.state not in _OPENING or sealed.wrapped is None:
        message = "the data key of this credential is revoked or shredded"
        raise Unavailable(message, code="data_key_unavailable")
    wrapped = (sealed.dek_version, sealed.wrapper, sealed.kek_ref, sealed.wrapped, sealed.kcv)
    dek = (find or data_key_of)(tenant_id, *wrapped)
    return open_blob(sealed.blob, dek=dek, address=SecretAddress(tenant_id, key_id, number))


def data_key_of(tenant_id: UUID, version: int, wrapper: str, kek_ref: str, wrapped: bytes, kcv: bytes) -> DataKey:
    """A data key that seals credentials, and is the one of its row. Raises as `unwrap_of`."""
    dek = DataKey(version=version, material=unwrap_of(tenant_id, version, wrapper, kek_ref, wrapped))
    verify_key_commitment(dek, kcv)
    return dek


def unwrap_pepper(tenant_id: UUID, version: int, wrapper: str, kek_ref: str, wrapped: bytes, kcv: bytes) -> Secret:
    """The pepper of a tenant's fingerprints, from its row. Raises as `unwrap_of`."""
    purpose = TenantKey.Purpose.FINGERPRINT.value
    material = unwrap_of(tenant_id, version, wrapper, kek_ref, wrapped, purpose=purpose)
    verify_key_commitment(DataKey(version=version, material=material), kcv)
    return material


def unwrap_of(
    tenant_id: UUID,
    version: int,
    wrapper: str,
    kek_ref: str,
    wrapped: bytes,
    *,
    purpose: str = TenantKey.Purpose.SECRET.value,
) -> Secret:
    """A data key, by default one that seals credentials.

    Raises Unavailable without its wrapper, IntegrityError for any difference.
    """
    local_wrapper()
    aad = dek_aad(tenant_id, version, purpose)
    return register.get(wrapper).unwrap(Wrapped(kek_ref=kek_ref, blob=wrapped), tenant_id=tenant_id, aad=aad)


def open_version(version: KeyVersion) -> Secret:
    """The plaintext of a version, for a probe, a revoke or a brokered call. Raises as `open_sealed`."""
    sealed = read_sealed(version.id)
    if sealed is None:
        message = "the credential was destroyed"
        raise Unavailable(message, code="material_destroyed")
    return open_sealed(sealed, key_id=version.key_id, number=version.number)


def fingerprints(plaintext: Secret, *, provider: str) -> tuple[bytes, bytes]:
    """(tenant, global) fingerprints of a credential, 32 bytes each."""
    pepper = _unwrap(_get_or_create(TenantKey.Purpose.FINGERPRINT), purpose=TenantKey.Purpose.FINGERPRINT.value)
    across = Secret(local_wrapper().derive(_GLOBAL_PEPPER))
    return (
        tenant_fingerprint(plaintext, pepper=pepper, provider=provider),
        global_fingerprint(plaintext, pepper=across, provider=provider),
    )


def make_audit_key() -> AuditDataKey:
    """A fresh audit data key of the bound tenant, wrapped and not stored yet. Raises Unavailable without a key file."""
    dek, tenant_id, wrapper = DataKey.generate(1), binding.get_tenant(), local_wrapper()
    wrapped = wrapper.wrap(dek.material, tenant_id=tenant_id, aad=dek_aad(tenant_id, dek.version, _AUDIT))
    return AuditDataKey(
        tenant_id=tenant_id,
        version=dek.version,
        wrapper=wrapper.name,
        kek_ref=wrapped.kek_ref,
        wrapped=wrapped.blob,
        kcv=key_commitment(dek),
    )


def unwrap_audit_key(row: AuditDataKey) -> AuditKey:
    """Raises Unavailable without its wrapper, IntegrityError when it is shredded or differs from what was stored."""
    return AuditKey(row.version, bytes(row.kcv), _unwrap(row, purpose=_AUDIT))


def shred() -> ShredStatement:
    """Forget every data key and delete every ciphertext of the bound tenant. Returns what that is worth.

    The audit data key goes too: the tenant's entries stay and verify, the personal data beside them is gone.
    """
    now = timezone.now()
    Material.objects.all().delete()
    TenantKey.objects.exclude(state=DataKeyState.SHREDDED).update(
        state=DataKeyState.SHREDDED, wrapped=None, shredded_at=now
    )
    audit_key = AuditDataKey.objects.filter(tenant_id=binding.get_tenant(), shredded_at=None)
    audit_key.update(wrapped=None, shredded_at=now)
    wrapper = local_wrapper()
    return wrapper.shred(tenant_id=binding.get_tenant(), kek_ref="")


def _get_or_create(purpose: TenantKey.Purpose) -> TenantKey:
    row = TenantKey.objects.filter(purpose=purpose, state=DataKeyState.ACTIVE).first()
    if row is not None:
        return row
    if TenantKey.objects.filter(purpose=purpose).exists():
        message = "the tenant's data keys are revoked or shredded"
        raise Unavailable(message, code="data_key_unavailable")
    dek = DataKey.generate(1)
    tenant_id, wrapper = binding.get_tenant(), local_wrapper()
    wrapped = wrapper.wrap(dek.material, tenant_id=tenant_id, aad=dek_aad(tenant_id, 1, purpose.value))
    made = TenantKey(
        tenant_id=tenant_id,
        purpose=purpose,
        version=1,
        wrapper=wrapper.name,
        kek_ref=wrapped.kek_ref,
        wrapped=wrapped.blob,
        kcv=key_commitment(dek),
    )
    # Two first uses at once: the second waits for the first one's commit here, and takes its key.
    TenantKey.objects.bulk_create([made], ignore_conflicts=True)
    stored: TenantKey = TenantKey.objects.get(purpose=purpose, state=DataKeyState.ACTIVE)
    return stored


def _unwrap(row: TenantKey | AuditDataKey, *, purpose: str) -> Secret:
    tenant_id = binding.get_tenant()
    local_wrapper()
    if row.wrapped is None:
        message = "the data key is shredded"
        raise IntegrityError(message)
    material = register.get(row.wrapper).unwrap(
        Wrapped(kek_ref=row.kek_ref, blob=bytes(row.wrapped)),
        tenant_id=tenant_id,
        aad=dek_aad(tenant_id, row.version, purpose),
    )
    verify_key_commitment(DataKey(version=row.version, material=material), bytes(row.kcv))
    return material
