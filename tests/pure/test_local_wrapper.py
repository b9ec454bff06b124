"""The local wrapper: fixed vectors, strict key files, one tenant's data key useless to another."""

from __future__ import annotations

import base64
import os
import stat
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import IntegrityError, InvalidInput, Unavailable
from keys.envelope import dek_aad
from keys.wrappers import BackupShred, Wrapped, Wrapper, WrapperRegister
from keys.wrappers.local import LocalWrapper, generate_key_file

if TYPE_CHECKING:
    from pathlib import Path

TENANT = UUID("018f0000-0000-7000-8000-00000000000a")
DEK = Secret(bytes(range(32)))
AAD = dek_aad(TENANT, 7, "secret")
RING = {"k2": Secret(bytes([2]) * 32), "k1": Secret(bytes([1]) * 32)}
PEPPER = Secret(bytes([9]) * 32)
WRAPPER = LocalWrapper(RING, pepper=PEPPER)

# Never change these: stored rows have this form.
WRAPPED = Wrapped(
    "k2",
    bytes.fromhex(
        "a0a1a2a3a4a5a6a7a8a9aaab956ce317f634d60dbe8f1c5851c771391ff241e0c91c21924a15cc22"
        "f93ef2ea139b8fc78831b142a7aac4962e55659a"
    ),
)
DERIVED = "ab8a06e45ba92c88d2e377ecb6310bccd637268d6ad649d995fd7ece45cf093d"


def encode(byte: int, length: int = 32) -> str:
    return base64.b64encode(bytes([byte]) * length).decode()


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_wrapped_data_key_of_the_first_release_still_unwraps() -> None:
    assert WRAPPER.unwrap(WRAPPED, tenant_id=TENANT, aad=AAD) == DEK


def test_the_derived_pepper_of_the_first_release_stays() -> None:
    assert WRAPPER.derive(b"fingerprint").hex() == DERIVED


@given(st.binary(min_size=32, max_size=32), st.uuids(), st.binary(max_size=50))
def test_a_wrapped_data_key_unwraps_for_its_own_tenant_and_binding(dek: bytes, tenant: UUID, aad: bytes) -> None:
    wrapped = WRAPPER.wrap(Secret(dek), tenant_id=tenant, aad=aad)
    assert wrapped.kek_ref == "k2"
    assert dek not in wrapped.blob
    assert WRAPPER.unwrap(wrapped, tenant_id=tenant, aad=aad).reveal() == dek


@given(st.uuids())
def test_another_tenant_cannot_unwrap_it(tenant: UUID) -> None:
    if tenant != TENANT:
        with pytest.raises(IntegrityError):
            WRAPPER.unwrap(WRAPPED, tenant_id=tenant, aad=AAD)


@pytest.mark.parametrize("aad", [b"", dek_aad(TENANT, 8, "secret"), dek_aad(TENANT, 7, "audit")])
def test_another_version_or_purpose_cannot_unwrap_it(aad: bytes) -> None:
    with pytest.raises(IntegrityError):
        WRAPPER.unwrap(WRAPPED, tenant_id=TENANT, aad=aad)


@pytest.mark.parametrize("bit", range(len(WRAPPED.blob) * 8))
def test_a_wrapped_data_key_with_any_one_bit_changed_is_refused(bit: int) -> None:
    data = bytearray(WRAPPED.blob)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        WRAPPER.unwrap(Wrapped("k2", bytes(data)), tenant_id=TENANT, aad=AAD)


@pytest.mark.parametrize("length", range(len(WRAPPED.blob)))
def test_a_wrapped_data_key_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        WRAPPER.unwrap(Wrapped("k2", WRAPPED.blob[:length]), tenant_id=TENANT, aad=AAD)


@pytest.mark.parametrize("kek_ref", ["k1", "gone", ""])
def test_a_wrapped_data_key_relabelled_with_another_key_is_refused(kek_ref: str) -> None:
    with pytest.raises(IntegrityError):
        WRAPPER.unwrap(Wrapped(kek_ref, WRAPPED.blob), tenant_id=TENANT, aad=AAD)


@pytest.mark.parametrize("length", [0, 16, 33])
def test_only_a_whole_data_key_is_wrapped(length: int) -> None:
    with pytest.raises(IntegrityError):
        WRAPPER.wrap(Secret(bytes(length)), tenant_id=TENANT, aad=AAD)


def test_rotation_wraps_with_the_new_key_and_keeps_old_blobs_and_peppers() -> None:
    rotated = LocalWrapper({"k3": Secret(bytes([3]) * 32), **RING}, pepper=PEPPER)
    assert rotated.unwrap(WRAPPED, tenant_id=TENANT, aad=AAD) == DEK
    assert rotated.wrap(DEK, tenant_id=TENANT, aad=AAD).kek_ref == "k3"
    assert rotated.derive(b"fingerprint").hex() == DERIVED


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_each_label_derives_its_own_32_bytes(one: bytes, other: bytes) -> None:
    assert len(WRAPPER.derive(one)) == 32
    assert (WRAPPER.derive(one) == WRAPPER.derive(other)) is (one == other)


def test_shredding_says_that_backups_wait_for_their_horizon() -> None:
    said = WRAPPER.shred(tenant_id=TENANT, kek_ref="k2")
    assert said.kek_destroyed is False
    assert said.backups is BackupShred.AT_BACKUP_HORIZON
    assert "backup horizon" in said.statement
    assert WRAPPER.unwrap(WRAPPED, tenant_id=TENANT, aad=AAD) == DEK


def test_the_wrapper_prints_no_key() -> None:
    assert "\\x02" not in repr(WRAPPER)
    assert repr(WRAPPER) == "<LocalWrapper of 2 keys>"


def test_a_generated_key_file_is_private_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    generate_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    wrapper = LocalWrapper.from_file(path)
    wrapped = wrapper.wrap(DEK, tenant_id=TENANT, aad=AAD)
    assert LocalWrapper.from_file(str(path)).unwrap(wrapped, tenant_id=TENANT, aad=AAD) == DEK


def test_a_generated_key_file_never_overwrites_one(tmp_path: Path) -> None:
    path = write(tmp_path / "kek", "precious")
    with pytest.raises(InvalidInput) as caught:
        generate_key_file(path)
    assert caught.value.code == "key_file_exists"
    assert path.read_text() == "precious"


def test_the_first_line_of_a_key_file_wraps(tmp_path: Path) -> None:
    text = f"# ours\n\n k2 {encode(2)}\nk1\t{encode(1)}\r\npepper:{encode(9)}"
    wrapper = LocalWrapper.from_file(write(tmp_path / "kek", text))
    assert wrapper.wrap(DEK, tenant_id=TENANT, aad=AAD).kek_ref == "k2"
    assert wrapper.unwrap(WRAPPED, tenant_id=TENANT, aad=AAD) == DEK
    assert wrapper.derive(b"fingerprint").hex() == DERIVED


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666, 0o777])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "kek", f"k1 {encode(1)}\npepper:{encode(9)}\n", mode)
    with pytest.raises(InvalidInput) as caught:
        LocalWrapper.from_file(path)
    assert caught.value.code == "key_file_exposed"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("# only a comment\n", id="comment"),
        pytest.param(f"pepper:{encode(9)}\n", id="no-key"),
        pytest.param(f"k1 {encode(1)}\n", id="no-pepper"),
        pytest.param(f"k1 {encode(1)}\npepper:{encode(8)}\npepper:{encode(9)}\n", id="two-peppers"),
        pytest.param(f"k1 {encode(1)}\nk1 {encode(2)}\npepper:{encode(9)}\n", id="same-id"),
        pytest.param(f"k1 {encode(1)}\nk2 {encode(1)}\npepper:{encode(9)}\n", id="same-key"),
        pytest.param(f"k1 {encode(9)}\npepper:{encode(9)}\n", id="pepper-is-a-key"),
        pytest.param(f"k1 {encode(1, 31)}\npepper:{encode(9)}\n", id="short-key"),
        pytest.param(f"k1 {encode(1, 33)}\npepper:{encode(9)}\n", id="long-key"),
        pytest.param(f"k1 {encode(1)}\npepper:{encode(9, 16)}\n", id="short-pepper"),
        pytest.param(f"k1 {encode(1)[:-1]}\npepper:{encode(9)}\n", id="no-padding"),
        pytest.param(f"k1 {encode(1)} more\npepper:{encode(9)}\n", id="third-word"),
        pytest.param(f"k1\npepper:{encode(9)}\n", id="no-material"),
        pytest.param(f"k:1 {encode(1)}\npepper:{encode(9)}\n", id="colon-in-id"),
        pytest.param(f"ké {encode(1)}\npepper:{encode(9)}\n", id="not-ascii"),
        pytest.param(f"k1 {encode(1)}\npepper:{encode(9)}\n" + "#" * 70000, id="too-long"),
    ],
)
def test_a_malformed_key_file_is_refused_without_showing_a_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        LocalWrapper.from_file(write(tmp_path / "kek", text))
    assert caught.value.code == "key_file_invalid"
    assert encode(1)[:8] not in caught.value.detail
    assert encode(9)[:8] not in caught.value.detail


def test_a_missing_key_file_a_folder_and_a_fifo_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("missing", "fifo", "."):
        with pytest.raises(InvalidInput):
            LocalWrapper.from_file(tmp_path / name)


def test_the_register_gives_the_named_wrapper_and_no_other() -> None:
    register = WrapperRegister()
    wrapper: Wrapper = WRAPPER
    register.add(wrapper)
    assert register.get("local") is WRAPPER
    with pytest.raises(Unavailable):
        register.get("openbao")
