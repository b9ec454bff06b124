"""What is said to people: once each, in the inbox for good, and as each of them wants it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail as django_mail
from django.db import connection, transaction
from django.utils import timezone

from audit.models import Entry
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Conflict, InvalidInput, NotFound
from keys.notices import KINDS
from tenants import notices as kinds
from tenants.models import Consumer
from tenants.services import mails, members, notices
from tests.tenants.mailing import PASSED, facts, inbox, post, say

if TYPE_CHECKING:
    from tests.world import World


def test_each_recipient_hears_a_thing_once_whatever_runs_twice(world: World) -> None:
    cast = world.tenant()
    people = (cast.owner.pk, cast.backup.pk)
    assert say(cast, *people, dedupe="a") == 2
    assert say(cast, *people, dedupe="a") == 0
    assert say(cast, *people, cast.auditor.pk, dedupe="a") == 1
    assert len(inbox(cast, cast.owner.pk)) == 1


def test_two_at_the_same_moment_say_it_once(world: World) -> None:
    cast, said = world.tenant(), []

    def speak() -> None:
        said.append(say(cast, cast.owner.pk, cast.backup.pk, dedupe="same"))
        connection.close()

    threads = [threading.Thread(target=speak) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(said) == 2
    assert len(inbox(cast, cast.backup.pk)) == 1


def test_a_notice_goes_with_the_transaction_that_said_it(world: World) -> None:
    cast = world.tenant()
    with world.bound(cast), transaction.atomic():
        say(cast, cast.owner.pk)
        transaction.set_rollback(True)
    assert inbox(cast, cast.owner.pk) == []


def test_a_kind_takes_exactly_its_facts_and_plain_ones(world: World) -> None:
    cast = world.tenant()
    for wrong in (
        {**facts(), "more": "x"},
        {"key": "x"},
        {**facts(), "key": Secret("s.1234567890")},
        {**facts(), "day": timezone.now()},
        {**facts(), "key": "x" * 301},
    ):
        with pytest.raises(ValueError, match=r"key\.ends_soon"):
            say(cast, cast.owner.pk, facts=wrong)
    with pytest.raises(KeyError):
        say(cast, cast.owner.pk, kind="key.made_up")


@pytest.mark.parametrize("kind", kinds.list_all_kinds(), ids=lambda kind: kind.name)
def test_every_kind_can_be_said_with_its_facts_alone(kind: kinds.Kind) -> None:
    values: dict[str, Any] = dict.fromkeys(kind.facts, "x-1") | {"run": str(new_id())}
    values = {name: value for name, value in values.items() if name in kind.facts}
    said = kinds.say(kind.name, {**values, "tenant_id": str(new_id()), "days": 3, "count": 2}, slug="acme")
    assert "%" not in said.subject + said.text
    assert "\n" not in said.subject
    assert said.path.startswith("/staff/" if kind.for_staff else "/t/acme/")
    assert set(kind.arguments) <= kind.facts
    assert kind.may_mute or kind.severity > kinds.Severity.INFO
    assert len(str(kind.title)) > 8


def test_the_list_of_kinds_is_closed_and_its_names_fit_the_column() -> None:
    assert {kind.name for kind in KINDS} <= {kind.name for kind in kinds.list_all_kinds()}
    assert all(len(kind.name) <= 40 for kind in kinds.list_all_kinds())


def test_a_person_chooses_how_to_hear_and_security_cannot_be_muted(world: World) -> None:
    cast = world.tenant()
    with world.bound(cast):
        with pytest.raises(InvalidInput) as refused:
            notices.prefer(actor=cast.actor, channels={PASSED: "portal"})
        assert (refused.value.code, refused.value.field) == ("not_mutable", PASSED)
        for channels in ({"key.made_up": "digest"}, {"key.ends_soon": "pigeon"}):
            with pytest.raises(InvalidInput):
                notices.prefer(actor=cast.actor, channels=channels)
        chosen = notices.prefer(actor=cast.actor, channels={"key.ends_soon": "portal", PASSED: "digest"})
    assert (chosen["key.ends_soon"], chosen[PASSED]) == ("portal", "digest")
    say(cast, cast.owner.pk, cast.backup.pk)
    assert post(cast, cast.owner.pk) == "nothing"
    assert len(inbox(cast, cast.owner.pk)) == 1
    assert post(cast, cast.backup.pk) == "done"
    with world.bound(cast):
        notices.prefer(actor=cast.actor, channels={"key.ends_soon": "at_once"})
    say(cast, cast.owner.pk)
    with world.bound(cast):
        assert mails.gather(cast.owner.pk) is not None
    world.sequence()
    with world.inside(cast):
        entry = Entry.objects.filter(tenant_id=cast.id, leaf__contains="notice.preferred").order_by("tseq").first()
    assert entry is not None
    assert "key.ends_soon: portal" in str(entry.leaf)


def test_a_preference_holds_in_its_own_tenant_only(world: World) -> None:
    cast, other = world.tenant(), world.tenant("globex")
    with world.bound(other):
        issued = members.invite(actor=other.actor, email=cast.owner.email, role="auditor")
        world._accept(other.tenant, issued)
    with world.bound(cast):
        notices.prefer(actor=cast.actor, channels={"key.ends_soon": "portal"})
    say(other, cast.owner.pk)
    assert post(other, cast.owner.pk) == "done"


def test_a_person_marks_only_the_own_notices_as_read(world: World) -> None:
    cast = world.tenant()
    say(cast, cast.owner.pk, cast.backup.pk)
    own, foreign = inbox(cast, cast.owner.pk)[0], inbox(cast, cast.backup.pk)[0]
    with world.bound(cast):
        with pytest.raises(NotFound):
            notices.mark_read(actor=cast.actor, notice_ids=[own.id, foreign.id])
        assert notices.mark_read(actor=cast.actor, notice_ids=[own.id]) == 1
        for ids in ([own.id], None):
            with pytest.raises(Conflict):
                notices.mark_read(actor=cast.actor, notice_ids=ids)
    assert inbox(cast, cast.owner.pk)[0].read_at is not None
    assert inbox(cast, cast.backup.pk)[0].read_at is None
    with world.inside(cast):
        assert notices.count_unread(cast.backup.pk, at_most=100) == 1


def test_a_consumer_is_told_at_its_contact_and_reads_its_own_over_the_api(world: World, client: Any) -> None:
    cast = world.tenant()
    reader, silent = world.consumer(cast, scopes=("notice:read",)), world.consumer(cast)
    with world.inside(cast):
        Consumer.objects.filter(id=reader.consumer.id).update(contact="ops@vendor.example")
    say(cast, cast.owner.pk, consumers=[reader.consumer.id, silent.consumer.id], kind=PASSED)
    assert post(cast, reader.consumer.id) == "done"
    assert post(cast, silent.consumer.id) == "nothing"
    assert [sent.to for sent in django_mail.outbox] == [["ops@vendor.example"]]
    assert "/t/" not in str(django_mail.outbox[0].body)  # a workload has no pages
    address = f"/api/v1/tenants/{cast.slug}/notices/"
    listed = client.get(address, headers=reader.headers).json()["results"]
    assert [(row["severity"], row["mailed"], row["facts"]["key"]) for row in listed] == [
        ("critical", True, "Nightly reports")
    ]
    person = inbox(cast, cast.owner.pk)[0]
    body = {"notices": [str(person.id)]}
    assert client.post(f"{address}read/", body, "application/json", headers=reader.headers).status_code == 404
    answer = client.post(f"{address}read/", {}, "application/json", headers=reader.headers)
    assert answer.json() == {"read": 1}
    assert answer["Audit-Id"]
    assert client.get(address, headers=silent.headers).status_code == 403


def test_a_token_may_carry_the_right_to_its_own_notices_and_no_preferences() -> None:
    from byok_portal.boundary.permissions import TOKEN_PERMISSIONS, WORKER_PERMISSIONS  # noqa: PLC0415

    assert Permission.NOTICE_READ in TOKEN_PERMISSIONS
    assert Permission.NOTICE_PREFER not in TOKEN_PERMISSIONS | WORKER_PERMISSIONS
