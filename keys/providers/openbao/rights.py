"""What an OpenBao token may do: from capability lists to scopes and excess. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from keys.providers.contract import Excess

if TYPE_CHECKING:
    from keys.catalogue import ProviderEntry, ScopeEntry, Sentinel

Rights: TypeAlias = Mapping[str, frozenset[str]]

PROBE_NAME: Final = "byok-portal-probe"
MAX_LISTED: Final = 20
ROOT: Final = Excess("", "It is a root token: it can do anything on the server", 4)
# What the built-in "default" policy gives every token: its own affairs. Nobody chose them, and they open
# nothing.
SELF_SERVICE: Final = (
    "auth/token/lookup-self",
    "auth/token/renew-self",
    "auth/token/revoke-self",
    "sys/capabilities-self",
    "sys/internal/ui/resultant-acl",
    "sys/leases/lookup",
    "sys/leases/renew",
    "sys/renew",
    "sys/tools/hash",
    "sys/tools/hash/",
    "sys/wrapping/lookup",
    "sys/wrapping/unwrap",
    "sys/wrapping/wrap",
    "cubbyhole/",
    "identity/entity/id/",
    "identity/entity/name/",
    "identity/oidc/provider/",
)
_CHANGES: Final = frozenset({"create", "update", "patch", "delete", "sudo"})
_ADMINISTRATION: Final = ("sys/", "auth/", "identity/")


def render(path: str, parameters: Mapping[str, str], *, probe: str = PROBE_NAME) -> str:
    """A capability path with the key's mount and prefix; the prefix always ends in a slash, or is empty."""
    prefix = parameters.get("prefix", "").strip("/")
    values = {
        "mount": parameters.get("mount", "").strip("/"),
        "prefix": f"{prefix}/" if prefix else "",
        "probe": probe,
    }
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def list_questions(entry: ProviderEntry, parameters: Mapping[str, str]) -> list[str]:
    """Every path to ask `sys/capabilities-self` about: of the scopes, and the sentinels outside them."""
    of_scopes = [render(each.path, parameters) for scope in entry.scopes for each in scope.capabilities]
    return sorted({*of_scopes, *_sentinels(entry, parameters)})


def holds(scope: ScopeEntry, parameters: Mapping[str, str], rights: Rights) -> bool:
    """Whether every right that the scope needs is there. A scope that needs none cannot be told: not held."""
    needed = [(rights.get(render(each.path, parameters), frozenset()), each.needs) for each in scope.capabilities]
    return bool(needed) and all("root" in held or set(needs) <= held for held, needs in needed)


def touches(scope: ScopeEntry, parameters: Mapping[str, str], rights: Rights) -> bool:
    """Whether any right that the scope needs is there."""
    return any(
        rights.get(render(each.path, parameters), frozenset()) & {"root", *each.needs} for each in scope.capabilities
    )


def find_excess(entry: ProviderEntry, parameters: Mapping[str, str], rights: Rights) -> list[Excess]:
    """Sentinels that the token reaches, and sudo on the paths of scopes."""
    found = [
        Excess("", sentinel.says, sentinel.risk)
        for path, sentinel in _sentinels(entry, parameters).items()
        if rights.get(path, frozenset()) - {"deny"}
    ]
    if any("sudo" in held for held in rights.values()):
        found.append(Excess("", "It holds sudo, which opens protected paths", 4))
    return found


def find_paths_beyond(entry: ProviderEntry, parameters: Mapping[str, str], granted: Rights) -> list[Excess]:
    """Granted paths (a trailing `*` marks a prefix) outside the scopes' paths and the token's own affairs."""
    regions = (*_regions(entry, parameters), *_sentinels(entry, parameters))  # those are told in their own words
    beyond = [
        (path, held - {"deny"})
        for path, held in granted.items()
        if held - {"deny"} and not _is_inside(path.removesuffix("*"), (*regions, *SELF_SERVICE))
    ]
    found = [
        Excess("", f"It also reaches {path}: {', '.join(sorted(held))}", _risk(path, held)) for path, held in beyond
    ]
    found.sort(key=lambda each: -each.risk)
    if len(found) > MAX_LISTED:
        rest = found[MAX_LISTED:]
        found[MAX_LISTED:] = [Excess("", f"It also reaches {len(rest)} more paths", rest[0].risk)]
    return found


def _sentinels(entry: ProviderEntry, parameters: Mapping[str, str]) -> dict[str, Sentinel]:
    # With an empty prefix the whole mount was chosen, and "outside the path" is inside.
    regions = _regions(entry, parameters)
    rendered = {render(each.path, parameters): each for each in entry.sentinels}
    return {path: each for path, each in rendered.items() if not _is_inside(path, regions)}


def _regions(entry: ProviderEntry, parameters: Mapping[str, str]) -> tuple[str, ...]:
    return tuple({render(each.path, parameters, probe="") for scope in entry.scopes for each in scope.capabilities})


def _is_inside(path: str, regions: tuple[str, ...]) -> bool:
    return any(path == region or (region.endswith("/") and path.startswith(region)) for region in regions)


def _risk(path: str, held: frozenset[str]) -> int:
    if "sudo" in held or path == "*":
        return 4
    if not held & _CHANGES:
        return 2
    return 4 if path.startswith(_ADMINISTRATION) else 3
