"""A request as the gate understood it. What is not plainly its own, the web answers. Must never repair anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import InvalidInput
from keys.context import parse_reference
from keys.facts import UseRequest
from keys.gate.replies import PROXY_METHODS, USE_METHODS
from keys.states import Delivery, Environment
from tenants import rules, tokens

if TYPE_CHECKING:
    from uuid import UUID

    from keys.gate.judging import Draft

BODY_MAX: Final = 16 * 1024
_NAME_MAX: Final = 60
_DELIVERIES: Final = {"decision": Delivery.DECISION, "lease": Delivery.LEASE}
_ENVIRONMENTS: Final = {word.value: word for word in Environment}


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    scope: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    purpose: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    environment: str | None = None
    delivery: str = "decision"
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


class _Introspection(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=BODY_MAX)]


_decode = msgspec.json.Decoder(_Body).decode
_decode_introspection = msgspec.json.Decoder(_Introspection).decode
INTROSPECT: Final = "/api/v1/introspect/"


@dataclass(frozen=True, slots=True)
class Place:
    """What the address names: a tenant (slug or id) and one of its keys (either its id or its slug)."""

    tenant: str
    key_id: UUID | None
    key_slug: str


@dataclass(frozen=True, slots=True)
class Call:
    """The call that a broker is asked to make, without its body."""

    method: str
    path: str
    query: str


Question = tuple[bytes, "UUID | None", str, str, bool, bool, int]
"""What a row of the context is read for: token, key (by id or slug), scope, opens or not, brokers or not, version."""


@dataclass(slots=True)
class Asked:
    """One use, as asked. `digest` is of the bearer token."""

    place: Place
    digest: bytes
    use: UseRequest
    request_id: UUID
    user_agent: str
    call: Call | None = None
    draft: Draft | None = None
    """What was drafted when it came, while others were at the database."""

    @property
    def question(self) -> Question:
        """What the database is asked."""
        use, place = self.use, self.place
        opens = use.delivery != Delivery.DECISION
        return (
            self.digest,
            place.key_id,
            place.key_slug,
            use.scope or "",
            opens,
            self.call is not None,
            use.version or 0,
        )

    @property
    def methods(self) -> bytes:
        """What its address allows."""
        return USE_METHODS if self.call is None else PROXY_METHODS


def find_use(path: str) -> Place | None:
    """The place in `/api/v1/tenants/{tenant}/keys/{key}/use/`; None for any other path."""
    parts = path.split("/")
    match parts:
        case ["", "api", "v1", "tenants", tenant, "keys", key, "use", ""] if _is_short(tenant, key):
            return _place(tenant, key)
    return None


def find_proxy(path: str) -> tuple[Place, str] | None:
    """The place in `/api/v1/tenants/{tenant}/keys/{key}/proxy/{path}` and the path to call; None for any other."""
    parts = path.split("/", 8)
    match parts:
        case ["", "api", "v1", "tenants", tenant, "keys", key, "proxy", rest] if rest and _is_short(tenant, key):
            return _place(tenant, key), f"/{rest}"
    return None


def _is_short(*names: str) -> bool:
    """Whether each may be a slug or an id: what is longer is nobody's, and not worth remembering."""
    return all(0 < len(name) <= _NAME_MAX for name in names)


@lru_cache(maxsize=4096)
def _place(tenant: str, key: str) -> Place:
    return Place(tenant, *parse_reference(key))


def find_body(data: bytes, address: str) -> UseRequest | None:
    """What the body asks for; None where the web must say what is wrong with it."""
    try:
        body = _decode(data)
        purpose = rules.require_text(body.purpose, field="purpose", maximum=200)
    except (msgspec.MsgspecError, InvalidInput, UnicodeError):
        return None
    delivery = _DELIVERIES.get(body.delivery)
    environment = _ENVIRONMENTS.get(body.environment) if body.environment is not None else None
    odd = body.scope != body.scope.strip() or not body.scope.isprintable()
    if delivery is None or odd or (environment is None and body.environment is not None):
        return None
    return UseRequest(
        scope=body.scope,
        purpose=purpose,
        environment=environment,
        delivery=delivery,
        address=address or None,
        version=body.version,
    )


def find_credential(data: bytes) -> Secret | None:
    """The credential that was presented; None where the web must say what is wrong."""
    try:
        token = _decode_introspection(data).token
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return Secret(token) if token.strip() and "\0" not in token else None


def digest_of(authorization: str) -> bytes:
    """The digest of a bearer token. Raises Unauthenticated."""
    return tokens.digest(tokens.from_header(authorization or None))
