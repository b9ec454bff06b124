"""One world per provider: live keys, ways to kill them, and the provider itself. Fakes only where the
internet begins.
"""
# JSON answers of any form; every provider is told the same

from __future__ import annotations

import secrets as random
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import urllib3

from byok_portal.boundary.secrets import Secret
from keys.catalogue import ProviderEntry, check_parameters, load_catalogue
from keys.providers.contract import Upstream
from keys.upstream.http import Limits
from tests.providers.edge import Answer, Edge, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

QUICK = Limits(connect=1.0, read=0.4, total=0.6, max_bytes=64 * 1024)


class World(Protocol):
    """What the contract suite needs of a provider."""

    entry: ProviderEntry

    def upstream(self, base_url: str = "") -> Upstream: ...
    def issue(self) -> Secret: ...
    def kill(self, plaintext: Secret) -> None: ...
    def unknown(self) -> Secret: ...


def letters(count: int) -> str:
    return "".join(random.choice(string.ascii_letters + string.digits) for _ in range(count))


class BaoWorld:
    """A real OpenBao."""

    def __init__(self, address: str, root_token: str) -> None:
        self.entry = load_catalogue()["openbao"]
        self.address = address
        self._root = root_token
        self._pool = urllib3.PoolManager(retries=False, timeout=5.0)

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str = "",
        namespace: str = "",
    ) -> Any:
        headers = {
            "X-Vault-Token": token or self._root,
            **({"X-Vault-Namespace": namespace} if namespace else {}),
        }
        answer = self._pool.request(method, f"{self.address}/v1/{path}", json=body, headers=headers)
        assert answer.status < 400, (answer.status, answer.data)
        return answer.json() if answer.data else {}

    def upstream(self, base_url: str = "", **parameters: str) -> Upstream:
        values = check_parameters(self.entry, {"prefix": "acme", **parameters})
        return Upstream(self.entry, base_url or self.address, values, allow_private=True, limits=QUICK)

    def token(self, *policies: str, **options: Any) -> Secret:
        body = {"policies": [*policies], "ttl": "1h", "no_parent": True, **options}
        return Secret(self.ask("POST", "auth/token/create", body)["auth"]["client_token"])

    def issue(self) -> Secret:
        return self.token("reader")

    def kill(self, plaintext: Secret) -> None:
        self.ask("POST", "auth/token/revoke", {"token": plaintext.reveal_text()})

    def unknown(self) -> Secret:
        return Secret(f"s.{letters(24)}")


@dataclass
class FakeWorld:
    """A declared provider, played from vendor documentation. `live` maps a key to whether it lives."""

    entry: ProviderEntry
    edge: Edge | None = None
    live: dict[str, bool] = field(default_factory=dict)

    def upstream(self, base_url: str = "") -> Upstream:
        assert self.edge is not None
        return Upstream(self.entry, base_url or self.edge.url, {}, allow_private=True, limits=QUICK)

    def issue(self) -> Secret:
        plaintext = self.unknown()
        self.live[plaintext.reveal_text()] = True
        return plaintext

    def kill(self, plaintext: Secret) -> None:
        self.live[plaintext.reveal_text()] = False

    def unknown(self) -> Secret:
        return Secret(f"fake-{letters(40)}")

    def answer(self, seen: Seen) -> Answer:
        """Dispatches to the provider's own manners."""
        given = seen.headers.get(self.entry.auth.header.lower(), "").removeprefix("Bearer ")
        manners = getattr(self, self.entry.slug)
        return cast("Answer", manners(seen, given, alive=self.live.get(given, False)))

    def gitlab(self, seen: Seen, given: str, *, alive: bool) -> Answer:
        if not alive:
            return Answer(401, {"message": "401 Unauthorized"})
        if seen.method == "DELETE":
            self.live[given] = False
            return Answer(204, raw=b"")
        return Answer(
            200,
            {
                "id": 5,
                "name": "bot",
                "user_id": 42,
                "active": True,
                "scopes": ["read_api", "sudo"],
                "expires_at": "2027-01-31",
            },
        )

    def slack(self, seen: Seen, given: str, *, alive: bool) -> Answer:
        if not alive:
            return Answer(200, {"ok": False, "error": "token_revoked" if given in self.live else "invalid_auth"})
        if seen.path.startswith("/api/auth.revoke"):
            self.live[given] = False
            return Answer(200, {"ok": True, "revoked": True})
        return Answer(
            200,
            {"ok": True, "team": "Acme", "team_id": "T1", "user_id": "U1", "echo": given},
            {"X-OAuth-Scopes": "chat:write,admin"},
        )

    def github(self, seen: Seen, given: str, *, alive: bool) -> Answer:
        if seen.path == "/credentials/revoke":
            assert "authorization" not in seen.headers
            for token in self.live:
                self.live[token] = self.live[token] and token.encode() not in seen.body
            return Answer(202, {})
        if not alive:
            return Answer(401, {"message": "Bad credentials"})
        expiry = {"github-authentication-token-expiration": "2027-02-01 10:00:00 UTC"}
        return Answer(200, {"id": 7, "login": "acme-bot"}, {"X-OAuth-Scopes": "repo, admin:org", **expiry})

    def stripe(self, seen: Seen, given: str, *, alive: bool) -> Answer:
        return (
            Answer(200, {"id": "acct_1", "country": "DE"})
            if alive
            else Answer(401, {"error": {"type": "invalid_request_error"}})
        )

    def openai(self, seen: Seen, given: str, *, alive: bool) -> Answer:
        if not alive:
            return Answer(
                401, {"error": {"code": "invalid_api_key", "message": f"Incorrect API key provided: {given}"}}
            )
        return Answer(200, {"data": []}, {"openai-organization": "org-acme"})

    def anthropic(self, seen: Seen, given: str, *, alive: bool) -> Answer:
        if not alive:
            return Answer(401, {"type": "error", "error": {"type": "authentication_error"}})
        return Answer(200, {"data": []}, {"anthropic-organization-id": "org-1"})
