"""The few OpenBao calls that set up the demo and the tests, and its audit log as a witness.

Must never be used by an app: the portal's own providers and wrappers speak to OpenBao with narrow tokens.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import urllib3

from byok_portal.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FIRST_ERROR: Final = HTTPStatus.BAD_REQUEST


@dataclass(frozen=True)
class BaoToken:
    """A token that OpenBao issued; `entity_id` is empty unless it came from a login."""

    token: str = field(repr=False)
    accessor: str
    entity_id: str
    policies: tuple[str, ...]


class BaoAdmin:
    """A client bound to one token. Every refusal raises Unavailable with OpenBao's own words."""

    def __init__(self, address: str, *, token: str, audit_log: Path) -> None:
        self.address = address
        self._token = token
        self._audit_log = audit_log
        self._pool = urllib3.PoolManager(retries=False, timeout=5.0)

    def enable_userpass(self) -> None:
        """Log-ins with name and password at `auth/userpass/`; enabled already is fine."""
        if "userpass/" not in self._call("GET", "sys/auth")["data"]:
            self._call("POST", "sys/auth/userpass", {"type": "userpass"})

    def enable_kv(self) -> None:
        """Versioned key-value storage at `secret/`; enabled already is fine."""
        if "secret/" not in self._call("GET", "sys/mounts")["data"]:
            self._call("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})

    def enable_transit(self) -> None:
        """Encryption as a service at `transit/`; enabled already is fine."""
        if "transit/" not in self._call("GET", "sys/mounts")["data"]:
            self._call("POST", "sys/mounts/transit", {"type": "transit"})

    def write_policy(self, name: str, rules: str) -> None:
        """Create or replace an ACL policy; `rules` is HCL."""
        self._call("PUT", f"sys/policies/acl/{name}", {"policy": rules})

    def create_user(self, name: str, *, password: str, policies: Sequence[str]) -> None:
        """Create or replace a userpass user, whose log-ins carry `policies`."""
        body = {"password": password, "token_policies": list(policies)}
        self._call("POST", f"auth/userpass/users/{name}", body)

    def log_in(self, name: str, *, password: str) -> BaoToken:
        """A token bound to the user's entity."""
        return _token_of(self._call("POST", f"auth/userpass/login/{name}", {"password": password}, token=""))

    def create_token(self, *, policies: Sequence[str], ttl: str, default_policy: bool = True) -> BaoToken:
        """An orphan token; `ttl` as OpenBao writes it (`1h`). It is bound to no entity."""
        body = {
            "policies": list(policies),
            "ttl": ttl,
            "no_default_policy": not default_policy,
            "no_parent": True,
        }
        return _token_of(self._call("POST", "auth/token/create", body))

    def create_orphan(self, *, policies: Sequence[str], name: str, **more: Any) -> BaoToken:
        """A token as `bao token create -orphan -display-name` makes one; `more` are OpenBao's own fields."""
        body = {"policies": list(policies), "display_name": name, **more}
        return _token_of(self._call("POST", "auth/token/create-orphan", body))

    def write_token_role(self, name: str, **fields: Any) -> None:
        """Create or replace a token role; `fields` are OpenBao's own."""
        self._call("POST", f"auth/token/roles/{name}", fields)

    def create_by_role(self, role: str, **fields: Any) -> BaoToken:
        """A token made through a token role."""
        return _token_of(self._call("POST", f"auth/token/create/{role}", fields))

    def list_tokens(self) -> list[dict[str, Any]]:
        """What OpenBao knows of every live token."""
        accessors = self._call("LIST", "auth/token/accessors")["data"]["keys"]
        return [found for each in accessors if (found := self.find_accessor(each)) is not None]

    def put_secret(self, path: str, data: dict[str, str]) -> int:
        """Write a new version at `secret/<path>`; returns its number."""
        return int(self._call("POST", f"secret/data/{path}", {"data": data})["data"]["version"])

    def get_secret(self, path: str, *, token: str | None = None) -> dict[str, str]:
        """The current version at `secret/<path>`, read with `token` when given."""
        found: dict[str, str] = self._call("GET", f"secret/data/{path}", token=token)["data"]["data"]
        return found

    def find_accessor(self, accessor: str) -> dict[str, Any] | None:
        """What OpenBao knows about a live token; None when it was revoked or has expired."""
        status, answer = self._send("POST", "auth/token/lookup-accessor", {"accessor": accessor})
        if status == HTTPStatus.NOT_FOUND or (status >= _FIRST_ERROR and "invalid accessor" in json.dumps(answer)):
            return None
        if status == HTTPStatus.FORBIDDEN and self._send("GET", "auth/token/lookup-self")[0] == HTTPStatus.OK:
            # While OpenBao tidies a token up, its accessor still resolves to a token that is gone.
            return None
        _refuse_error(status, answer)
        found: dict[str, Any] = answer["data"]
        return found

    def revoke_accessor(self, accessor: str) -> None:
        """Revoke the token and its children at once."""
        self._call("POST", "auth/token/revoke-accessor", {"accessor": accessor})

    def count_audit(self, path_suffix: str, accessor: str | None = None) -> int:
        """Requests on paths ending so, as OpenBao's own audit log tells; refused ones count too.

        OpenBao writes the line before it answers, so a finished call is in. With `accessor`: that token's.
        """
        return sum(1 for line in self._list_requests() if _matches(line, path_suffix, accessor))

    def _list_requests(self) -> list[dict[str, Any]]:
        if not self._audit_log.exists():
            return []
        lines = (json.loads(line) for line in self._audit_log.read_text().splitlines() if line)
        return [line for line in lines if line["type"] == "request"]

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        status, answer = self._send(method, path, body, token=token)
        _refuse_error(status, answer)
        return answer

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        sent = self._token if token is None else token
        headers = {"X-Vault-Token": sent} if sent else {}
        answer = self._pool.request(method, f"{self.address}/v1/{path}", json=body, headers=headers)
        return answer.status, answer.json() if answer.data else {}


def _refuse_error(status: int, answer: dict[str, Any]) -> None:
    if status >= _FIRST_ERROR:
        reason = f"OpenBao answered {status}: {'; '.join(answer.get('errors', []))}"
        raise Unavailable(reason)


def _token_of(answer: dict[str, Any]) -> BaoToken:
    auth = answer["auth"]
    return BaoToken(
        token=auth["client_token"],
        accessor=auth["accessor"],
        entity_id=auth["entity_id"],
        policies=tuple(auth["policies"]),
    )


def _matches(line: dict[str, Any], path_suffix: str, accessor: str | None) -> bool:
    if not str(line["request"].get("path", "")).endswith(path_suffix):
        return False
    # A refused token has no `auth` to speak of; the request may still name its accessor.
    seen = {line.get("auth", {}).get("accessor"), line["request"].get("client_token_accessor")}
    return accessor is None or accessor in seen
