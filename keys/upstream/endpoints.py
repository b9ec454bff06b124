"""Customer-given base URLs: one spelling per endpoint, odd spellings refused. Resolves no names;
`http.send` does.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from byok_portal.errors import InvalidInput
from keys.calls import check_path
from keys.upstream.addresses import Address, find_refusal

MAX_URL: Final = 2048
MAX_HOST: Final = 253  # RFC 1035, without the final dot
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_LOCAL_NAMES: Final = ("localhost", "localhost.localdomain")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. `path` has no trailing slash; `host` is lower case and without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def authority(self) -> str:
        """`host[:port]` as it belongs in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def address(self) -> Address | None:
        """The address when the host is one, not a name."""
        return _find_address(self.host)


def validate_endpoint(url: str, allow_private: bool) -> str:  # noqa: FBT001  # reads well at every call
    """The normal form of a base URL (`https://host[:port][/path]`). Raises InvalidInput on field
    `endpoint`.
    """
    target = parse_target(url)
    if target.query or "?" in url:
        raise refuse("query", "Give the base address only, without a query string")
    check_scheme(target, allow_private=allow_private)
    if not allow_private and target.host in _LOCAL_NAMES:
        raise refuse("private_network", "The address is on a private network")
    if target.address is not None:
        check_address(target.address, allow_private=allow_private)
    return f"{target.scheme}://{target.authority}{target.path.rstrip('/')}"


def parse_target(url: str) -> Target:
    """Takes a URL apart. Raises InvalidInput for user info, fragments, control characters and odd host
    spellings.
    """
    plain = len(url) <= MAX_URL and url.isascii() and url.isprintable()
    if not plain or any(c in ' \\"<>^`{|}' for c in url):
        raise refuse("malformed", "The address is too long or holds characters that do not belong in a URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise refuse("malformed", "The address is not a valid URL") from None
    if parts.scheme not in {"https", "http"}:
        raise refuse("scheme", "The address must start with https://")
    if "@" in parts.netloc:
        raise refuse("userinfo", "Leave user names and passwords out of the address")
    if "#" in url or port == 0 or parts.netloc.endswith(":"):
        raise refuse("malformed", "The address is not a valid URL")
    path = _check_base_path(parts.path)
    return Target(
        parts.scheme,
        _check_host(parts.hostname or ""),
        port or _default_port(parts.scheme),
        path,
        parts.query,
    )


def check_scheme(target: Target, *, allow_private: bool) -> None:
    """Https always; http only where private networks are allowed (the address is judged on sending)."""
    if target.scheme != "https" and not allow_private:
        raise refuse("scheme", "The address must start with https://")


def check_address(address: Address, *, allow_private: bool) -> None:
    """Raises InvalidInput `private_network` for an address that must not be called."""
    reason = find_refusal(address, allow_private=allow_private)
    if reason is not None:
        raise refuse("private_network", f"The address leads to {reason}")


def refuse(code: str, detail: str) -> InvalidInput:
    """One spelling of the error for a refused target."""
    return InvalidInput(detail, code=code, field="endpoint")


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _check_base_path(path: str) -> str:
    try:
        return check_path(path) if path else ""
    except InvalidInput:
        raise refuse("malformed", "The path of the address is not plain") from None


def _check_host(host: str) -> str:
    """Names and ordinary addresses. `0x7f.1`, `2130706433` and `127.1` are resolved by libc, so they are
    refused.
    """
    host = host.lower().removesuffix(".")
    if _find_address(host) is not None:
        return str(_find_address(host))
    labels = host.split(".")
    if len(host) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise refuse("host", "The host name is not valid")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise refuse("host", "Write the address as four plain numbers")
    return host


def _find_address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host) if "%" not in host else None
    except ValueError:
        return None
