"""The envelope: fixed vectors for ever, and every difference from what was sealed is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput
from keys.envelope import (
    DataKey,
    SecretAddress,
    data_key_version,
    dek_aad,
    key_commitment,
    open_blob,
    seal,
    verify_key_commitment,
)

TENANT = UUID("018f0000-0000-7000-8000-00000000000a")
KEY = UUID("018f0000-0000-7000-8000-00000000000b")
ADDRESS = SecretAddress(TENANT, KEY, 3)
DEK = DataKey(7, Secret(bytes(range(32))))
PLAINTEXT = Secret(b"sk-test-vector")

# Never change these: stored rows have this form.
BLOB = bytes.fromhex("0100000007a0a1a2a3a4a5a6a7a8a9aaab9573515920b876921400e4a76808dcfd362288ab3a491a624fdf61416e8b")
COMMITMENT = bytes.fromhex("e3d60c4c64c13e9cc374d76c3167a1d243933441e3ac68fdec02b5f6a98a1858")
DEK_AAD = bytes.fromhex("62796f6b2f64656b2f763100018f000000007000800000000000000a00000007736563726574")

versions = st.integers(min_value=1, max_value=2**32 - 1)
addresses = st.builds(SecretAddress, st.uuids(), st.uuids(), versions)
data_keys = st.builds(DataKey, versions, st.binary(min_size=32, max_size=32).map(Secret))


def test_the_stored_blob_of_the_first_release_still_opens() -> None:
    assert open_blob(BLOB, dek=DEK, address=ADDRESS) == PLAINTEXT


def test_the_key_commitment_of_the_first_release_still_verifies() -> None:
    assert key_commitment(DEK) == COMMITMENT
    verify_key_commitment(DEK, memoryview(COMMITMENT))


def test_the_binding_of_a_wrapped_data_key_keeps_its_bytes() -> None:
    assert dek_aad(TENANT, 7, "secret") == DEK_AAD


@given(st.binary(max_size=300), data_keys, addresses)
def test_what_is_sealed_opens_again_and_is_33_bytes_longer(text: bytes, dek: DataKey, address: SecretAddress) -> None:
    blob = seal(Secret(text), dek=dek, address=address)
    assert len(blob) == len(text) + 33
    assert data_key_version(blob) == dek.version
    assert open_blob(memoryview(blob), dek=dek, address=address).reveal() == text


def test_two_seals_of_one_secret_share_no_nonce() -> None:
    assert seal(PLAINTEXT, dek=DEK, address=ADDRESS)[5:17] != seal(PLAINTEXT, dek=DEK, address=ADDRESS)[5:17]


@pytest.mark.parametrize("bit", range(len(BLOB) * 8))
def test_a_blob_with_any_one_bit_changed_is_refused(bit: int) -> None:
    data = bytearray(BLOB)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        open_blob(bytes(data), dek=DEK, address=ADDRESS)


@pytest.mark.parametrize("length", range(len(BLOB)))
def test_a_blob_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        open_blob(BLOB[:length], dek=DEK, address=ADDRESS)


@given(st.binary(min_size=1, max_size=40))
def test_a_blob_with_anything_added_is_refused(extra: bytes) -> None:
    with pytest.raises(IntegrityError):
        open_blob(BLOB + extra, dek=DEK, address=ADDRESS)


@given(addresses)
def test_a_blob_copied_to_another_address_is_refused(address: SecretAddress) -> None:
    moved = [
        replace(ADDRESS, tenant_id=address.tenant_id),
        replace(ADDRESS, key_id=address.key_id),
        replace(ADDRESS, key_version=address.key_version),
    ]
    for other in moved:
        if other != ADDRESS:
            with pytest.raises(IntegrityError):
                open_blob(BLOB, dek=DEK, address=other)


def test_swapped_tenant_and_key_ids_are_refused() -> None:
    with pytest.raises(IntegrityError):
        open_blob(BLOB, dek=DEK, address=SecretAddress(KEY, TENANT, 3))


def test_a_blob_relabelled_with_another_data_key_version_is_refused() -> None:
    relabelled = BLOB[:4] + b"\x08" + BLOB[5:]
    with pytest.raises(IntegrityError):
        open_blob(relabelled, dek=DataKey(8, DEK.material), address=ADDRESS)


@given(data_keys)
def test_another_data_key_neither_opens_nor_matches_the_commitment(dek: DataKey) -> None:
    other = replace(dek, version=DEK.version)
    if other == DEK:
        return
    with pytest.raises(IntegrityError):
        open_blob(BLOB, dek=other, address=ADDRESS)
    with pytest.raises(IntegrityError):
        verify_key_commitment(other, COMMITMENT)


@pytest.mark.parametrize("commitment", [b"", COMMITMENT[:-1], COMMITMENT + b"\0", bytes(32)])
def test_a_wrong_commitment_is_refused(commitment: bytes) -> None:
    with pytest.raises(IntegrityError):
        verify_key_commitment(DEK, commitment)


def test_no_error_or_print_of_a_data_key_shows_key_or_plaintext() -> None:
    with pytest.raises(IntegrityError) as caught:
        open_blob(BLOB[:-1] + b"\0", dek=DEK, address=ADDRESS)
    shown = f"{caught.value} {caught.value!r} {caught.value.__cause__} {DEK!r} {DEK}"
    assert "sk-test" not in shown
    assert DEK.material.reveal().hex() not in shown
    assert str(DEK.material.reveal()) not in shown
    assert caught.value.__suppress_context__


def test_a_data_key_cannot_be_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(DEK)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_data_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        DataKey(1, Secret(bytes(length)))


@pytest.mark.parametrize("version", [-1, 0, 2**32])
def test_a_version_outside_its_32_bits_is_refused(version: int) -> None:
    with pytest.raises(InvalidInput):
        DataKey(version, Secret(bytes(32)))
    with pytest.raises(InvalidInput):
        SecretAddress(TENANT, KEY, version)
    with pytest.raises(InvalidInput):
        dek_aad(TENANT, version, "secret")


def test_a_generated_data_key_is_new_each_time() -> None:
    assert DataKey.generate(1) != DataKey.generate(1)


@pytest.mark.parametrize("purpose", ["", "sécret"])
def test_a_purpose_that_is_no_ascii_word_is_refused(purpose: str) -> None:
    with pytest.raises(InvalidInput):
        dek_aad(TENANT, 1, purpose)


@given(st.uuids(), versions, st.sampled_from(["secret", "audit"]))
def test_each_tenant_version_and_purpose_has_its_own_binding(tenant: UUID, version: int, purpose: str) -> None:
    same = (tenant, version, purpose) == (TENANT, 7, "secret")
    assert (dek_aad(tenant, version, purpose) == DEK_AAD) is same
