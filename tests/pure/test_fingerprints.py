"""Fingerprints: fixed vectors, and each domain apart from the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import InvalidInput
from keys.fingerprints import global_fingerprint, tenant_fingerprint

PEPPER = Secret(bytes([9]) * 32)
PLAINTEXT = Secret(b"sk-test-vector")

slugs = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)


def test_the_fingerprints_of_the_first_release_stay() -> None:
    tenant = tenant_fingerprint(PLAINTEXT, pepper=PEPPER, provider="openai")
    everywhere = global_fingerprint(PLAINTEXT, pepper=PEPPER, provider="openai")
    assert tenant.hex() == "f9973371f0088f4cde329c5b06be904c034728bc2472485cc70bb76419904664"
    assert everywhere.hex() == "294bba61509ffc90780c7847ac60bb84944aebf8547bf73401fda4ed38caec8c"


@given(st.binary(max_size=60), slugs, st.binary(min_size=32, max_size=32))
def test_a_fingerprint_is_32_bytes_repeats_and_differs_by_domain(text: bytes, provider: str, pepper: bytes) -> None:
    first = tenant_fingerprint(Secret(text), pepper=Secret(pepper), provider=provider)
    assert len(first) == 32
    assert first == tenant_fingerprint(Secret(text), pepper=Secret(pepper), provider=provider)
    assert first != global_fingerprint(Secret(text), pepper=Secret(pepper), provider=provider)


@given(st.tuples(slugs, st.binary(max_size=40)), st.tuples(slugs, st.binary(max_size=40)))
def test_different_providers_or_credentials_have_different_fingerprints(
    one: tuple[str, bytes], other: tuple[str, bytes]
) -> None:
    prints = [global_fingerprint(Secret(text), pepper=PEPPER, provider=provider) for provider, text in (one, other)]
    assert (prints[0] == prints[1]) is (one == other)


def test_a_credential_cannot_borrow_the_end_of_the_provider_name() -> None:
    one = tenant_fingerprint(Secret(b"b-key"), pepper=PEPPER, provider="a")
    assert one != tenant_fingerprint(Secret(b"-key"), pepper=PEPPER, provider="ab")


@pytest.mark.parametrize("variant", [b" sk-test-vector", b"sk-test-vector\n", b"SK-TEST-VECTOR", b"sk-test-vector\0"])
def test_the_exact_bytes_count(variant: bytes) -> None:
    assert tenant_fingerprint(Secret(variant), pepper=PEPPER, provider="openai") != tenant_fingerprint(
        PLAINTEXT, pepper=PEPPER, provider="openai"
    )


def test_another_pepper_gives_another_fingerprint() -> None:
    other = Secret(bytes([8]) * 32)
    assert tenant_fingerprint(PLAINTEXT, pepper=PEPPER, provider="openai") != tenant_fingerprint(
        PLAINTEXT, pepper=other, provider="openai"
    )


@pytest.mark.parametrize("provider", ["", "Open AI", "open\0ai", "openai\n", "é", "-x"])
def test_a_provider_that_is_no_slug_is_refused(provider: str) -> None:
    with pytest.raises(InvalidInput):
        tenant_fingerprint(PLAINTEXT, pepper=PEPPER, provider=provider)


@pytest.mark.parametrize("length", [0, 31])
def test_a_short_pepper_is_refused(length: int) -> None:
    with pytest.raises(InvalidInput):
        global_fingerprint(PLAINTEXT, pepper=Secret(bytes(length)), provider="openai")
