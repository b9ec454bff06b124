"""The OpenBao adapter against a real server: what each kind of token answers, and what the portal
concludes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from byok_portal.boundary.secrets import Secret
from keys.catalogue import load_catalogue
from keys.providers import get_adapter
from keys.providers.comparison import compare
from keys.providers.contract import Adapter, UpstreamStatus
from keys.shapes import check_shape

if TYPE_CHECKING:
    from byok_portal.quickstart.openbao import BaoServer
    from tests.providers.worlds import BaoWorld

READER_SCOPES = {"secrets:read", "secrets:list", "metadata:read", "token:self"}


@pytest.fixture
def adapter(bao: BaoWorld) -> Adapter:
    return get_adapter(bao.entry)


def test_a_fitting_token_misses_nothing_and_exceeds_nothing(bao: BaoWorld, adapter: Adapter) -> None:
    probe = adapter.probe(bao.upstream(), bao.issue(), "n")
    comparison = compare(READER_SCOPES, probe, bao.entry)
    assert (comparison.known, comparison.missing, comparison.excess) == (True, (), ())
    assert probe.expires_at is not None
    assert probe.evidence["policies"] == ["default", "reader"]
    assert "id" not in probe.evidence


def test_a_scope_that_the_token_lacks_is_missing(bao: BaoWorld, adapter: Adapter) -> None:
    probe = adapter.probe(bao.upstream(), bao.issue(), "n")
    assert compare({*READER_SCOPES, "secrets:write"}, probe, bao.entry).missing == ("secrets:write",)


def test_a_scope_that_nobody_chose_is_excess(bao: BaoWorld, adapter: Adapter) -> None:
    probe = adapter.probe(bao.upstream(), bao.issue(), "n")
    excess = compare({"secrets:read", "token:self"}, probe, bao.entry).excess
    assert [each.scope for each in excess] == ["secrets:list", "metadata:read"]


def test_a_key_for_another_path_misses_its_scopes_and_exceeds_them_elsewhere(bao: BaoWorld, adapter: Adapter) -> None:
    probe = adapter.probe(bao.upstream(prefix="other"), bao.issue(), "n")
    comparison = compare({"secrets:read"}, probe, bao.entry)
    assert comparison.missing == ("secrets:read",)
    assert any("secret/data/acme/" in each.says for each in comparison.excess)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('path "sys/policies/acl/*" { capabilities = ["update"] }', "policies"),
        ('path "auth/token/create" { capabilities = ["create", "update"] }', "further tokens"),
        ('path "+/data/*" { capabilities = ["read"] }', "outside the chosen path"),
        ('path "kv/data/+/x" { capabilities = ["read"] }\npath "*" { capabilities = ["list"] }', "reaches *"),
        ('path "secret/*" { capabilities = ["read"] }', "outside the chosen path"),
        ('path "database/creds/app" { capabilities = ["read"] }', "database/creds/app"),
    ],
)
def test_rights_outside_the_path_are_named_in_plain_words(
    bao: BaoWorld, adapter: Adapter, rules: str, words: str
) -> None:
    name = f"excess-{abs(hash(rules))}"
    bao.ask("PUT", f"sys/policies/acl/{name}", {"policy": rules})
    probe = adapter.probe(bao.upstream(), bao.token("reader", name), "n")
    assert any(words in each.says for each in compare(READER_SCOPES, probe, bao.entry).excess)


def test_a_root_token_is_critical_excess(bao: BaoWorld, adapter: Adapter) -> None:
    probe = adapter.probe(bao.upstream(), bao.token("root", ttl=""), "n")
    comparison = compare(READER_SCOPES, probe, bao.entry)
    assert comparison.highest_risk == 4
    assert any("root token" in each.says for each in comparison.excess)
    assert "secrets:destroy" in {each.scope for each in comparison.excess}


def test_a_live_token_that_may_not_look_at_itself_is_valid_and_never_dead(bao: BaoWorld, adapter: Adapter) -> None:
    plaintext = bao.token("reader", no_default_policy=True)
    probe = adapter.probe(bao.upstream(), plaintext, "n")
    assert (probe.status, probe.code, probe.effective_scopes) == (UpstreamStatus.VALID, "lookup_denied", None)
    evidence = {"revoke_accepted": True, "cluster_id": bao.ask("GET", "sys/health")["cluster_id"]}
    assert adapter.confirm(bao.upstream(), plaintext, evidence=evidence) is UpstreamStatus.VALID
    assert adapter.revoke(bao.upstream(), plaintext).done is False


def test_an_expired_token_is_invalid_and_confirmed(bao: BaoWorld, adapter: Adapter) -> None:
    plaintext = bao.token("reader", ttl="1s")
    evidence = adapter.probe(bao.upstream(), plaintext, "n").evidence
    time.sleep(1.5)
    assert adapter.probe(bao.upstream(), plaintext, "n").status is UpstreamStatus.INVALID
    assert adapter.confirm(bao.upstream(), plaintext, evidence=evidence) is UpstreamStatus.REVOKED_CONFIRMED


def test_a_dead_token_without_evidence_is_not_called_revoked(bao: BaoWorld, adapter: Adapter) -> None:
    plaintext = bao.issue()
    bao.kill(plaintext)
    assert adapter.confirm(bao.upstream(), plaintext) is UpstreamStatus.UNKNOWN


def test_a_dead_answer_from_another_cluster_proves_nothing(bao: BaoWorld, adapter: Adapter) -> None:
    plaintext = bao.issue()
    evidence = {**adapter.probe(bao.upstream(), plaintext, "n").evidence, "cluster_id": "elsewhere"}
    bao.kill(plaintext)
    assert adapter.confirm(bao.upstream(), plaintext, evidence=evidence) is UpstreamStatus.UNKNOWN


def test_a_locked_out_login_is_not_called_revoked_because_it_can_come_back(bao: BaoWorld, adapter: Adapter) -> None:
    bao.ask("POST", "auth/userpass/users/ann", {"password": "p", "token_policies": ["reader"]})
    auth = bao.ask("POST", "auth/userpass/login/ann", {"password": "p"})["auth"]
    plaintext = Secret(auth["client_token"])
    probe = adapter.probe(bao.upstream(), plaintext, "n")
    assert probe.account is not None
    assert probe.account.id.endswith(f"entity/{auth['entity_id']}")
    bao.ask("POST", f"identity/entity/id/{auth['entity_id']}", {"disabled": True})
    assert adapter.confirm(bao.upstream(), plaintext, evidence=probe.evidence) is UpstreamStatus.UNKNOWN
    bao.ask("POST", f"identity/entity/id/{auth['entity_id']}", {"disabled": False})
    assert adapter.confirm(bao.upstream(), plaintext, evidence=probe.evidence) is UpstreamStatus.VALID


def test_a_token_bound_to_other_addresses_is_not_called_revoked(bao: BaoWorld, adapter: Adapter) -> None:
    bao.ask("POST", "auth/token/roles/far", {"allowed_policies": "reader", "token_bound_cidrs": ["10.9.9.0/24"]})
    plaintext = Secret(bao.ask("POST", "auth/token/create/far", {"policies": ["reader"]})["auth"]["client_token"])
    cluster_id = bao.ask("GET", "sys/health")["cluster_id"]
    evidence = {"cluster_id": cluster_id, "entity_id": "", "bound_cidrs": ["10.9.9.0/24"]}
    assert adapter.confirm(bao.upstream(), plaintext, evidence=evidence) is UpstreamStatus.UNKNOWN


def test_a_batch_token_says_that_it_cannot_be_revoked(bao: BaoWorld, adapter: Adapter) -> None:
    body = {"policies": ["reader"], "type": "batch", "ttl": "1h"}
    plaintext = Secret(bao.ask("POST", "auth/token/create", body)["auth"]["client_token"])
    assert check_shape(plaintext, bao.entry, load_catalogue()) is not None
    result = adapter.revoke(bao.upstream(), plaintext)
    assert (result.done, result.supported) == (False, False)
    assert "batch" in result.note.lower()
    assert adapter.confirm(bao.upstream(), plaintext) is UpstreamStatus.VALID


def test_a_probe_of_a_token_with_few_uses_takes_one_use_only(bao: BaoWorld, adapter: Adapter) -> None:
    plaintext = bao.token("reader", num_uses=2)
    probe = adapter.probe(bao.upstream(), plaintext, "n")
    assert (probe.status, probe.code) == (UpstreamStatus.VALID, "limited_uses")
    assert adapter.call(bao.upstream(), plaintext, "GET", "/v1/secret/data/acme/app").status == 200


def test_the_nonce_is_in_the_customers_own_audit_log(bao: BaoWorld, bao_server: BaoServer, adapter: Adapter) -> None:
    adapter.probe(bao.upstream(), bao.issue(), "nonce-7f3a")
    assert bao_server.admin().count_audit("byok-portal-proof-nonce-7f3a") > 0


def test_a_brokered_read_returns_the_secret_and_a_look_at_itself_hides_the_token(
    bao: BaoWorld, adapter: Adapter
) -> None:
    plaintext = bao.issue()
    read = adapter.call(bao.upstream(), plaintext, "GET", "/v1/secret/data/acme/app")
    look = adapter.call(bao.upstream(), plaintext, "GET", "/v1/auth/token/lookup-self")
    assert b"hunter2" in read.body
    assert look.status == 200
    assert plaintext.reveal() not in look.body
    assert b"[redacted]" in look.body


def test_a_token_of_a_namespace_works_there_and_is_another_account(bao: BaoWorld, adapter: Adapter) -> None:
    bao.ask("POST", "sys/namespaces/team1", {})
    bao.ask("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, namespace="team1")
    policy = {"policy": 'path "secret/data/acme/*" { capabilities = ["read"] }'}
    bao.ask("PUT", "sys/policies/acl/reader", policy, namespace="team1")
    body = {"policies": ["reader"], "no_parent": True}
    plaintext = Secret(bao.ask("POST", "auth/token/create", body, namespace="team1")["auth"]["client_token"])
    assert check_shape(plaintext, bao.entry, load_catalogue()) is not None
    probe = adapter.probe(bao.upstream(namespace="team1"), plaintext, "n")
    root = adapter.probe(bao.upstream(), bao.issue(), "n")
    assert probe.effective_scopes is not None
    assert "secrets:read" in probe.effective_scopes
    assert probe.account is not None
    assert root.account is not None
    assert probe.account.id != root.account.id
