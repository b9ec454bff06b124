"""What a hostile review found, kept for ever: each of these was possible once."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from django.test import Client

from audit import words
from audit.models import Entry
from byok_portal.boundary import binding
from byok_portal.boundary.models import IdempotencyRecord
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, Refused, UpstreamUnavailable
from keys.models import KeyVersion, Proof
from keys.services import lifecycle, offboarding, probing, registration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import Cast, Credential, World


@pytest.fixture
def parrot() -> Iterator[str]:
    """A server that is not HTTP: it answers with what it was sent, as echo and mail servers do."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    sent = connection.recv(65536).split(b"\r\n")
                    token = [line for line in sent if line.lower().startswith(b"x-vault-token")]
                    connection.sendall((token or [b"hello"])[0] + b"\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_an_endpoint_that_echoes_the_credential_puts_it_into_no_log_and_no_error(
    world: World, parrot: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    cast, token = world.tenant(), world.bao_token().token
    with world.bound(cast), pytest.raises(UpstreamUnavailable) as failure:
        registration.register(actor=cast.actor, draft=world.draft(cast, endpoint=parrot), plaintext=Secret(token))
    try:
        raise RuntimeError(token)  # noqa: TRY301  # as a library might, with the credential in its text
    except RuntimeError:
        logging.getLogger("byok.test").exception("failed")
    assert token not in failure.value.detail
    assert token not in capfd.readouterr().err
    with world.inside(cast):
        assert not KeyVersion.objects.exists()
    world.sequence()
    with world.inside(cast):
        attempts = Entry.objects.filter(leaf__startswith=words.action_is("key.register"))
        assert [entry.outcome for entry in attempts] == ["denied"]


def test_a_proof_that_comes_after_the_end_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cast = world.tenant()
    key = world.key(cast)
    probe = probing.prove

    def revoke_meanwhile(*arguments: object) -> object:
        evidence = probe(*arguments)  # type: ignore[arg-type]
        lifecycle.revoke(actor=cast.actor, key_id=key.id, reason="cessation_of_operation")
        return evidence

    monkeypatch.setattr(probing, "prove", revoke_meanwhile)
    with world.bound(cast), pytest.raises(Conflict):
        registration.prove(actor=cast.actor, key_id=key.id)
    with world.inside(cast):
        assert Proof.objects.count() == 1
        assert KeyVersion.objects.get().state == "revoked"


def test_a_credential_that_died_after_its_proof_is_not_activated(world: World) -> None:
    cast, token = world.tenant(), world.bao_token()
    key = world.key(cast, token=token, activate=False)
    world.bao.revoke_accessor(token.accessor)
    with world.bound(cast):
        with pytest.raises(Refused):
            registration.prove(actor=cast.actor, key_id=key.id)
        with pytest.raises(Refused) as refusal:
            lifecycle.activate(actor=cast.actor, key_id=key.id, accept_excess=True, note="Listing only")
    assert refusal.value.code == "upstream_invalid"


def test_a_tenant_with_the_longest_names_can_be_offboarded(world: World) -> None:
    cast, staff = world.tenant(), world.staff_actor()
    key, credential = world.key(cast, name="k" * 80), world.consumer(cast)
    with world.bound(cast), binding.reading():
        credential.consumer.name = "c" * 120
        credential.consumer.save(update_fields=["name"])
    world.grant(cast, key, credential)
    with world.bound(cast):
        run = offboarding.start(actor=staff, reason="contract_ended", confirmation=cast.slug)
    assert run.state == "running"


def post(cast: Cast, path: str, credential: Credential, body: object, **headers: str) -> tuple[int, str]:
    client = Client(headers={**credential.headers, **headers})
    answer = client.post(f"/api/v1/tenants/{cast.slug}/{path}", json.dumps(body), content_type="application/json")
    return answer.status_code, answer.json().get("code", "")


def test_a_consumer_cannot_issue_anothers_token_nor_grant_itself_a_right(world: World) -> None:
    cast = world.tenant()
    key, victim = world.key(cast), world.consumer(cast)
    robot = world.consumer(cast, environment="production", scopes=("key:use", "consumer:token", "grant:create"))
    asked = {"days": 5, "scopes": ["key:use"]}
    assert post(cast, f"consumers/{victim.consumer.slug}/tokens/", robot, asked)[0] == 403
    grant = {"consumer": robot.consumer.slug, "scopes": ["secrets:read"], "days": 5, "reason": "mine"}
    assert post(cast, f"keys/{key.slug}/grants/", robot, grant)[0] == 403


def test_a_write_that_died_with_its_process_can_be_repeated(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    key, reader = world.key(cast), world.consumer(cast)
    robot = world.consumer(cast, scopes=("grant:create",))
    with world.bound(cast), binding.reading():
        IdempotencyRecord.objects.create(
            tenant_id=cast.id, caller_id=robot.token_id, idempotency_key="one", request_digest=b"x"
        )
    grant = {"consumer": reader.consumer.slug, "scopes": ["secrets:read"], "days": 5, "reason": "report"}
    path = f"keys/{key.slug}/grants/"
    assert post(cast, path, robot, grant, **{"Idempotency-Key": "one"}) == (409, "in_progress")
    admin_connection.execute(
        "UPDATE boundary_idempotencyrecord SET created_at = now() - interval '6 minutes' WHERE caller_id = %s",
        [robot.token_id],
    )
    assert post(cast, path, robot, grant, **{"Idempotency-Key": "one"})[0] == 201


@pytest.mark.parametrize("cursor", ["x", "cD1ub3QtYS1kYXRl", "bz1hJnI9YiZwPWM=", "%00", "cD0lMDA="])
def test_a_made_up_cursor_is_named(world: World, cursor: str) -> None:
    cast = world.tenant()
    reader = world.consumer(cast, scopes=("consumer:read", "audit:read"))
    for path in ("consumers/", "audit/events/"):
        answer = Client(headers=reader.headers).get(f"/api/v1/tenants/{cast.slug}/{path}?cursor={cursor}")
        assert answer.status_code in {200, 422}, answer.content
        if answer.status_code == 422:
            assert answer.json()["errors"][0]["field"] == "cursor"


def test_a_credential_sent_as_scope_or_purpose_is_in_no_leaf(world: World) -> None:
    cast, slip = world.tenant(), world.bao_token().token
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    assert post(cast, f"keys/{key.slug}/use/", credential, {"scope": slip, "purpose": slip})[0] == 403
    world.sequence()
    with world.inside(cast):
        assert not any(slip in leaf for leaf in Entry.objects.values_list("leaf", flat=True))


def test_the_web_servers_login_cannot_make_anybody_staff(world: World) -> None:
    cast = world.tenant()
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("UPDATE tenants_user SET is_staff = true WHERE id = %s", [cast.owner.pk])
