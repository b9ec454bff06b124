"""The decision: each check denies with its own code, in the design's order; the unclear is denied."""

# ruff: noqa: FBT001  # wrong types are passed on purpose; expected answers are booleans

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.decision import (
    Code,
    ConsumerFacts,
    Decision,
    GrantFacts,
    KeyFacts,
    RateFacts,
    UseContext,
    UseRequest,
    VersionFacts,
    decide,
)
from keys.restrictions import Window
from keys.states import Custody, DataKeyState, Delivery, Environment, GrantState, KeyState, VersionState
from tenants.states import TenantState

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
SECOND = timedelta(seconds=1)
ALWAYS = Window(frozenset(range(7)), 0, 24 * 60)
NEVER = Window(frozenset(), 0, 24 * 60)

CONSUMER = ConsumerFacts(id=UUID(int=1), environment=Environment.PRODUCTION, is_active=True)
KEY = KeyFacts(
    id=UUID(int=2),
    state=KeyState.ACTIVE,
    environment=Environment.PRODUCTION,
    custody=Custody.SEALED,
    scopes=frozenset({"chat", "models"}),
    deliveries=frozenset(Delivery),
    networks=("10.0.0.0/8",),
    window=ALWAYS,
    ends_at=NOW + SECOND,
)
VERSION = VersionFacts(number=3, state=VersionState.ACTIVE, data_key=DataKeyState.ACTIVE, expires_at=NOW + SECOND)
DRAINING = VersionFacts(
    number=2,
    state=VersionState.SUPERSEDED,
    data_key=DataKeyState.RETIRED,
    drain_until=NOW + SECOND,
)
GRANT = GrantFacts(
    key_id=KEY.id,
    consumer_id=CONSUMER.id,
    state=GrantState.ACTIVE,
    scopes=frozenset({"chat"}),
    deliveries=frozenset({Delivery.DECISION, Delivery.BROKER}),
    networks=("10.1.0.0/16",),
    window=ALWAYS,
    starts_at=NOW,
    ends_at=NOW + SECOND,
)
CONTEXT = UseContext(
    consumer=CONSUMER,
    tenant_state=TenantState.ACTIVE,
    key=KEY,
    versions=(VERSION, DRAINING),
    grant=GRANT,
    rate=RateFacts(limit=5, used=4, resets_at=NOW + timedelta(seconds=30)),
)
REQUEST = UseRequest(
    scope="chat",
    purpose="answering",
    environment=Environment.PRODUCTION,
    delivery=Delivery.BROKER,
    address="10.1.2.3",
)

World = tuple[UseContext, UseRequest]
Breaker = Callable[[UseContext, UseRequest], World]


def with_key(context: UseContext, **fields: Any) -> UseContext:
    return replace(context, key=replace(context.key, **fields) if context.key else None)


def with_grant(context: UseContext, **fields: Any) -> UseContext:
    return replace(context, grant=replace(context.grant, **fields) if context.grant else None)


def with_versions(context: UseContext, **fields: Any) -> UseContext:
    return replace(context, versions=tuple(replace(version, **fields) for version in context.versions))


def ask(context: UseContext = CONTEXT, request: UseRequest = REQUEST, now: datetime = NOW) -> Decision:
    return decide(context, request, now)


# One line for each way to break exactly one check, in the order of the design.
BREAKERS: list[tuple[int, str, Code, Breaker]] = [
    (0, "no consumer", Code.CONSUMER_UNKNOWN, lambda c, r: (replace(c, consumer=None), r)),
    (1, "no grant", Code.NOT_FOUND, lambda c, r: (replace(c, grant=None), r)),
    (2, "tenant", Code.TENANT_NOT_ACTIVE, lambda c, r: (replace(c, tenant_state=TenantState.SUSPENDED), r)),
    (3, "pending", Code.KEY_NOT_ACTIVE, lambda c, r: (with_key(c, state=KeyState.PENDING), r)),
    (3, "suspended", Code.KEY_SUSPENDED, lambda c, r: (with_key(c, state=KeyState.SUSPENDED), r)),
    (3, "clock", Code.KEY_SUSPENDED, lambda c, r: (with_key(c, suspends_at=NOW), r)),
    (3, "revoked", Code.KEY_REVOKED, lambda c, r: (with_key(c, state=KeyState.REVOKED), r)),
    (3, "compromised", Code.KEY_COMPROMISED, lambda c, r: (with_key(c, state=KeyState.COMPROMISED), r)),
    (4, "no version", Code.NO_USABLE_VERSION, lambda c, r: (replace(c, versions=()), r)),
    (
        4,
        "brownout",
        Code.VERSION_BROWNOUT,
        lambda c, r: (
            with_versions(c, state=VersionState.SUPERSEDED, drain_until=NOW + SECOND, dark_from=NOW),
            replace(r, version=3),
        ),
    ),
    (
        5,
        "data key",
        Code.DATA_KEY_UNAVAILABLE,
        lambda c, r: (with_versions(c, data_key=DataKeyState.REVOKED), r),
    ),
    (6, "version expired", Code.KEY_EXPIRED, lambda c, r: (with_versions(c, expires_at=NOW), r)),
    (6, "key ended", Code.KEY_EXPIRED, lambda c, r: (with_key(c, ends_at=NOW), r)),
    (7, "grant early", Code.GRANT_NOT_STARTED, lambda c, r: (with_grant(c, starts_at=NOW + SECOND), r)),
    (8, "grant expired", Code.GRANT_EXPIRED, lambda c, r: (with_grant(c, ends_at=NOW), r)),
    (9, "grant revoked", Code.GRANT_ENDED, lambda c, r: (with_grant(c, state=GrantState.REVOKED), r)),
    (10, "grant scope", Code.SCOPE_NOT_GRANTED, lambda c, r: (with_grant(c, scopes=frozenset({"x"})), r)),
    (10, "key scope", Code.SCOPE_NOT_GRANTED, lambda c, r: (with_key(c, scopes=frozenset({"models"})), r)),
    (10, "call", Code.CALL_NOT_ALLOWED, lambda c, r: (c, replace(r, scope=None))),
    (11, "asked", Code.ENVIRONMENT_MISMATCH, lambda c, r: (c, replace(r, environment=Environment.STAGING))),
    (11, "key", Code.ENVIRONMENT_MISMATCH, lambda c, r: (with_key(c, environment=Environment.STAGING), r)),
    (12, "address", Code.NETWORK_NOT_ALLOWED, lambda c, r: (c, replace(r, address="10.2.0.1"))),
    (13, "grant window", Code.OUTSIDE_WINDOW, lambda c, r: (with_grant(c, window=NEVER), r)),
    (13, "key window", Code.OUTSIDE_WINDOW, lambda c, r: (with_key(c, window=NEVER), r)),
    (14, "rate", Code.RATE_EXCEEDED, lambda c, r: (replace(c, rate=RateFacts(5, 5, NOW + SECOND)), r)),
    (
        15,
        "delivery",
        Code.DELIVERY_NOT_PERMITTED,
        lambda c, r: (with_grant(c, deliveries=frozenset()), r),
    ),
]


def test_a_use_within_everything_is_allowed() -> None:
    assert ask() == Decision(
        allowed=True,
        code=Code.ALLOWED,
        status=200,
        detail="The use is allowed.",
        version=3,
        network="10.1.0.0/16",
    )


@pytest.mark.parametrize(("rank", "name", "code", "breaker"), BREAKERS, ids=[row[1] for row in BREAKERS])
def test_each_broken_check_denies_with_its_own_code(rank: int, name: str, code: Code, breaker: Breaker) -> None:
    decision = ask(*breaker(CONTEXT, REQUEST))
    assert (decision.allowed, decision.code) == (False, code), (rank, name)
    assert decision.status == {Code.CONSUMER_UNKNOWN: 401, Code.NOT_FOUND: 404, Code.RATE_EXCEEDED: 429}.get(code, 403)
    assert decision.detail


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in combinations(BREAKERS, 2) if pair[0][0] < pair[1][0]],
    ids=lambda row: row[1].replace(" ", "-"),
)
def test_of_two_broken_checks_the_earlier_gives_the_code(
    first: tuple[int, str, Code, Breaker], second: tuple[int, str, Code, Breaker]
) -> None:
    for one, other in ((first, second), (second, first)):
        assert ask(*other[3](*one[3](CONTEXT, REQUEST))).code == first[2]


def test_everything_broken_at_once_is_an_unknown_consumer() -> None:
    world = (CONTEXT, REQUEST)
    for row in BREAKERS:
        world = row[3](*world)
    assert ask(*world).code == Code.CONSUMER_UNKNOWN


def test_every_code_has_a_test_here() -> None:
    assert {row[2] for row in BREAKERS} | {Code.ALLOWED} == set(Code)


def test_an_inactive_consumer_is_not_known() -> None:
    assert ask(replace(CONTEXT, consumer=replace(CONSUMER, is_active=False))).code == Code.CONSUMER_UNKNOWN


def test_a_missing_key_and_a_key_without_grant_have_one_answer() -> None:
    missing, ungranted = ask(replace(CONTEXT, key=None)), ask(replace(CONTEXT, grant=None))
    assert missing == ungranted
    assert (missing.version, missing.network, missing.missing_scope) == (None, None, None)


@pytest.mark.parametrize("field", ["key_id", "consumer_id"])
def test_a_grant_of_another_key_or_consumer_is_no_grant(field: str) -> None:
    assert ask(with_grant(CONTEXT, **{field: UUID(int=9)})).code == Code.NOT_FOUND


@pytest.mark.parametrize("state", [state for state in TenantState if state is not TenantState.ACTIVE])
def test_only_an_active_tenants_keys_are_used(state: TenantState) -> None:
    assert ask(replace(CONTEXT, tenant_state=state)).code == Code.TENANT_NOT_ACTIVE


def test_a_word_that_is_no_state_is_denied() -> None:
    broken: Any = "weird"
    assert ask(replace(CONTEXT, tenant_state=broken)).code == Code.TENANT_NOT_ACTIVE
    assert ask(with_key(CONTEXT, state=broken)).code == Code.KEY_NOT_ACTIVE
    assert ask(with_versions(CONTEXT, state=broken)).code == Code.NO_USABLE_VERSION
    assert ask(with_versions(CONTEXT, data_key=broken)).code == Code.DATA_KEY_UNAVAILABLE
    assert ask(with_grant(CONTEXT, state=broken)).code == Code.GRANT_ENDED
    assert ask(request=replace(REQUEST, delivery=broken)).code == Code.DELIVERY_NOT_PERMITTED
    assert ask(request=replace(REQUEST, environment=broken)).code == Code.ENVIRONMENT_MISMATCH


# Versions


@pytest.mark.parametrize("state", [state for state in VersionState if state is not VersionState.ACTIVE])
def test_a_version_in_any_other_state_is_not_used(state: VersionState) -> None:
    versions = (replace(VERSION, state=state),)
    expected = Code.KEY_EXPIRED if state is VersionState.EXPIRED else Code.NO_USABLE_VERSION
    for asked in (None, 3):
        decision = ask(replace(CONTEXT, versions=versions), replace(REQUEST, version=asked))
        assert decision.code == expected


def test_the_clock_suspends_a_key_at_its_moment_with_no_job() -> None:
    for moment, code in ((NOW + SECOND, Code.ALLOWED), (NOW, Code.KEY_SUSPENDED), (None, Code.ALLOWED)):
        assert ask(with_key(CONTEXT, suspends_at=moment)).code == code


def test_the_draining_version_is_used_only_when_asked_by_number() -> None:
    assert ask(request=replace(REQUEST, version=2)).version == 2
    assert ask().version == 3
    alone = replace(CONTEXT, versions=(DRAINING,))
    assert ask(alone).code == Code.NO_USABLE_VERSION
    assert ask(alone, replace(REQUEST, version=2)).allowed


def test_the_draining_version_ends_at_its_moment_with_no_job() -> None:
    request = replace(REQUEST, version=2)
    for until, allowed in ((NOW + SECOND, True), (NOW, False), (NOW - SECOND, False), (None, False)):
        versions = (VERSION, replace(DRAINING, drain_until=until))
        decision = ask(replace(CONTEXT, versions=versions), request)
        assert decision.allowed is allowed
        assert decision.code in (Code.ALLOWED, Code.NO_USABLE_VERSION)


def test_a_brownout_refuses_the_draining_version_between_its_moments_and_no_other() -> None:
    request = replace(REQUEST, version=2)
    moments = [
        (NOW, NOW + SECOND, Code.VERSION_BROWNOUT),
        (NOW - SECOND, NOW, Code.ALLOWED),
        (NOW + SECOND, NOW + 2 * SECOND, Code.ALLOWED),
        (NOW - SECOND, None, Code.VERSION_BROWNOUT),
        (None, NOW + SECOND, Code.ALLOWED),
    ]
    for start, end, code in moments:
        dark = replace(DRAINING, dark_from=start, dark_until=end)
        assert ask(replace(CONTEXT, versions=(VERSION, dark)), request).code == code
        assert ask(replace(CONTEXT, versions=(VERSION, dark))).version == 3
    active = replace(VERSION, dark_from=NOW - SECOND, dark_until=NOW + SECOND)
    assert ask(replace(CONTEXT, versions=(active,))).allowed


@pytest.mark.parametrize("asked", [0, 1, 4, -3])
def test_a_version_that_is_not_there_is_not_replaced_by_another(asked: int) -> None:
    assert ask(request=replace(REQUEST, version=asked)).code == Code.NO_USABLE_VERSION


def test_a_newer_version_without_proof_does_not_hide_an_expired_one() -> None:
    newer = replace(VERSION, number=4, state=VersionState.REGISTERED)
    expired = replace(VERSION, state=VersionState.EXPIRED)
    assert ask(replace(CONTEXT, versions=(expired, newer))).code == Code.KEY_EXPIRED


def test_a_revoked_current_version_is_not_called_expired_for_an_older_one() -> None:
    revoked = replace(VERSION, state=VersionState.REVOKED)
    older = replace(VERSION, number=1, state=VersionState.EXPIRED)
    assert ask(replace(CONTEXT, versions=(older, revoked))).code == Code.NO_USABLE_VERSION


@pytest.mark.parametrize(
    ("custody", "state", "allowed"),
    [
        (Custody.SEALED, DataKeyState.ACTIVE, True),
        (Custody.SEALED, DataKeyState.RETIRED, True),
        (Custody.SEALED, DataKeyState.REVOKED, False),
        (Custody.SEALED, DataKeyState.SHREDDED, False),
        (Custody.SEALED, None, False),
        (Custody.REFERENCED, None, True),
        (Custody.VERIFIER, None, True),
        (Custody.REFERENCED, DataKeyState.SHREDDED, False),
        ("weird", None, False),
    ],
)
def test_sealed_material_needs_a_data_key_that_opens(custody: Any, state: Any, allowed: bool) -> None:
    context = with_versions(with_key(CONTEXT, custody=custody), data_key=state)
    request = replace(REQUEST, delivery=Delivery.DECISION)
    assert ask(context, request).code == (Code.ALLOWED if allowed else Code.DATA_KEY_UNAVAILABLE)


# Time


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650)))
def test_an_expiry_holds_from_its_moment_on_with_no_job(late: timedelta) -> None:
    context = replace(CONTEXT, versions=(replace(VERSION, expires_at=NOW - late),))
    assert ask(context).code == Code.KEY_EXPIRED
    assert ask(with_key(CONTEXT, ends_at=NOW - late)).code == Code.KEY_EXPIRED
    assert ask(with_grant(CONTEXT, ends_at=NOW - late)).code == Code.GRANT_EXPIRED


@given(st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=3650)))
def test_until_its_last_microsecond_a_key_is_used(left: timedelta) -> None:
    context = replace(CONTEXT, versions=(replace(VERSION, expires_at=NOW + left),))
    assert ask(with_grant(with_key(context, ends_at=NOW + left), ends_at=NOW + left)).allowed


def test_no_end_means_no_end() -> None:
    context = replace(CONTEXT, versions=(replace(VERSION, expires_at=None),))
    context = with_grant(with_key(context, ends_at=None), starts_at=None, ends_at=None)
    assert ask(context, now=NOW + timedelta(days=9000)).allowed


def test_the_job_that_marks_expiry_does_not_change_the_answer() -> None:
    before = ask(replace(CONTEXT, versions=(replace(VERSION, expires_at=NOW),)))
    after = ask(replace(CONTEXT, versions=(replace(VERSION, expires_at=NOW, state=VersionState.EXPIRED),)))
    assert before == after
    assert ask(with_grant(CONTEXT, ends_at=NOW)) == ask(with_grant(CONTEXT, ends_at=NOW, state=GrantState.EXPIRED))


def test_a_grant_that_is_only_requested_has_not_started() -> None:
    assert ask(with_grant(CONTEXT, state=GrantState.REQUESTED)).code == Code.GRANT_NOT_STARTED


@pytest.mark.parametrize("hours", [-11, 0, 14])
def test_the_zone_in_which_now_is_written_changes_nothing(hours: int) -> None:
    now = NOW.astimezone(timezone(timedelta(hours=hours)))
    window = Window(frozenset({0}), 12 * 60, 12 * 60 + 1)
    assert ask(with_grant(CONTEXT, window=window), now=now).allowed


@pytest.mark.parametrize("edge", [datetime.min, datetime.max])  # noqa: DTZ901  # naive and at the edge, on purpose
@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_the_ends_of_the_calendar_get_an_answer(edge: datetime, hours: int) -> None:
    moment = edge.replace(tzinfo=timezone(timedelta(hours=hours)))
    for now in (edge, moment):
        assert ask(now=now).code in (Code.GRANT_NOT_STARTED, Code.KEY_EXPIRED)
    assert ask(with_key(CONTEXT, ends_at=moment)).allowed is (edge.year > NOW.year)


# Scope, environment, delivery


def test_a_scope_that_is_not_granted_is_named() -> None:
    decision = ask(request=replace(REQUEST, scope="models"))
    assert (decision.code, decision.missing_scope) == (Code.SCOPE_NOT_GRANTED, "models")
    assert ask(request=replace(REQUEST, address="8.8.8.8")).missing_scope is None


def test_a_request_without_scope_is_denied_whatever_the_delivery() -> None:
    for delivery in Delivery:
        decision = ask(request=replace(REQUEST, scope=None, delivery=delivery))
        expected = Code.CALL_NOT_ALLOWED if delivery is Delivery.BROKER else Code.SCOPE_NOT_GRANTED
        assert decision.code == expected


@pytest.mark.parametrize("asked", [None, *Environment])
def test_environments_must_all_be_one(asked: Environment | None) -> None:
    for of_key in Environment:
        for of_consumer in Environment:
            context = replace(
                with_key(CONTEXT, environment=of_key), consumer=replace(CONSUMER, environment=of_consumer)
            )
            same = of_key == of_consumer and asked in (None, of_key)
            assert ask(context, replace(REQUEST, environment=asked)).allowed is same


def test_a_delivery_must_be_permitted_by_key_and_grant() -> None:
    assert ask(request=replace(REQUEST, delivery=Delivery.LEASE)).code == Code.DELIVERY_NOT_PERMITTED
    context = with_key(CONTEXT, deliveries=frozenset({Delivery.LEASE}))
    assert ask(context).code == Code.DELIVERY_NOT_PERMITTED


@pytest.mark.parametrize("delivery", list(Delivery))
def test_a_verifier_can_only_be_decided_on(delivery: Delivery) -> None:
    context = with_grant(with_key(CONTEXT, custody=Custody.VERIFIER), deliveries=frozenset(Delivery))
    decision = ask(with_versions(context, data_key=None), replace(REQUEST, delivery=delivery))
    assert decision.allowed is (delivery is Delivery.DECISION)


# Rate


@pytest.mark.parametrize(
    ("limit", "used", "seconds", "retry_after"),
    [(5, 5, 30, 30), (5, 6, 0.2, 1), (5, 5, 1.2, 2), (0, 0, 60, 60), (5, 5, -9, 1), (-1, 0, 3, 3)],
)
def test_a_used_up_rate_says_when_to_try_again(limit: int, used: int, seconds: float, retry_after: int) -> None:
    rate = RateFacts(limit, used, NOW + timedelta(seconds=seconds))
    decision = ask(replace(CONTEXT, rate=rate))
    assert (decision.code, decision.retry_after) == (Code.RATE_EXCEEDED, retry_after)


def test_a_grant_without_rate_is_not_limited() -> None:
    assert ask(replace(CONTEXT, rate=None)).allowed


# Totality

moments = st.none() | st.datetimes() | st.datetimes(timezones=st.timezones()) | st.just(NOW)
networks = st.lists(st.text(max_size=8) | st.sampled_from(["10.0.0.0/8", "::/0", "10.0.0.1/8"]), max_size=3)
windows = st.none() | st.builds(Window, st.frozensets(st.integers(-1, 8)), st.integers(-5, 1500), st.integers(-5, 1500))
words = st.text(max_size=3)
scopes = st.frozensets(st.sampled_from(["chat", "models", ""]))
deliveries: Any = st.frozensets(st.sampled_from(list(Delivery)))


def facts(kind: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **fields)


contexts: st.SearchStrategy[UseContext] = facts(
    UseContext,
    consumer=st.none()
    | facts(
        ConsumerFacts,
        id=st.just(CONSUMER.id),
        environment=st.sampled_from(Environment),
        is_active=st.booleans(),
    ),
    tenant_state=st.sampled_from(TenantState) | words,
    key=st.none()
    | facts(
        KeyFacts,
        id=st.just(KEY.id),
        state=st.sampled_from(KeyState) | words,
        environment=st.sampled_from(Environment),
        custody=st.sampled_from(Custody) | words,
        scopes=scopes,
        deliveries=deliveries,
        networks=networks.map(tuple),
        window=windows,
        ends_at=moments,
    ),
    versions=st.lists(
        facts(
            VersionFacts,
            number=st.integers(1, 3),
            state=st.sampled_from(VersionState) | words,
            data_key=st.none() | st.sampled_from(DataKeyState) | words,
            expires_at=moments,
            drain_until=moments,
        ),
        max_size=4,
    ).map(tuple),
    grant=st.none()
    | facts(
        GrantFacts,
        key_id=st.just(KEY.id),
        consumer_id=st.sampled_from([CONSUMER.id, UUID(int=9)]),
        state=st.sampled_from(GrantState) | words,
        scopes=scopes,
        deliveries=deliveries,
        networks=networks.map(tuple),
        window=windows,
        starts_at=moments,
        ends_at=moments,
    ),
    rate=st.none() | facts(RateFacts, limit=st.integers(), used=st.integers(), resets_at=moments.filter(bool)),
)
requests: st.SearchStrategy[UseRequest] = facts(
    UseRequest,
    scope=st.none() | st.sampled_from(["chat", "models", ""]) | words,
    purpose=words,
    environment=st.none() | st.sampled_from(Environment) | words,
    delivery=st.sampled_from(Delivery) | words,
    address=st.none() | st.ip_addresses().map(str) | words | st.just("10.1.2.3"),
    version=st.none() | st.integers(-1, 4),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw the allowed world with some facts exchanged for drawn ones, so that both answers come up often."""
    context, request = draw(contexts), draw(requests)
    for name in draw(st.sets(st.sampled_from(UseContext.__slots__))):
        context = replace(context, **{name: getattr(CONTEXT, name)})
    for name in draw(st.sets(st.sampled_from(UseRequest.__slots__))):
        request = replace(request, **{name: getattr(REQUEST, name)})
    return context, request


@settings(max_examples=300)
@given(worlds(), moments.filter(bool))
def test_every_combination_gives_an_answer_and_only_allowed_is_allowed(world: World, now: datetime) -> None:
    decision = decide(*world, now)
    assert decision.allowed is (decision.code is Code.ALLOWED)
    assert decision.allowed is (decision.status == 200)
    assert (decision.retry_after is not None) is (decision.code is Code.RATE_EXCEEDED)
    assert decision == decide(*world, now)


@settings(max_examples=300)
@given(worlds())
def test_whatever_is_allowed_meets_every_condition(world: World) -> None:
    context, request = world
    decision = decide(context, request, NOW)
    if not decision.allowed:
        return
    consumer, key, grant = context.consumer, context.key, context.grant
    assert consumer is not None
    assert key is not None
    assert grant is not None
    assert consumer.is_active
    assert (grant.key_id, grant.consumer_id) == (key.id, consumer.id)
    assert (context.tenant_state, key.state, grant.state) == ("active", "active", "active")
    assert any(
        version.number == decision.version
        and (version.state == "active" or (version.state == "superseded" and request.version == version.number))
        for version in context.versions
    )
    assert request.scope in key.scopes & grant.scopes
    assert request.delivery in key.deliveries & grant.deliveries
    assert key.environment == consumer.environment
    assert request.environment in (None, key.environment)
    assert context.rate is None or context.rate.used < context.rate.limit
    assert (decision.network is None) is (not key.networks and not grant.networks)
