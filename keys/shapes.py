"""What a pasted credential looks like: form, provider, mode. Pure.

Must never put any part of the secret into a message, and never guess: an unknown form is refused where
forms are known.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue import ProviderEntry, Shape

MAX_BYTES: Final = 16 * 1024
HINT_MIN_LENGTH: Final = 20
HINT_LENGTH: Final = 4
PRODUCTION: Final = "production"
LIVE: Final = "live"
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CRC_LENGTH: Final = 6
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Match:
    """One provider's shape that a secret fits."""

    slug: str
    shape: Shape


def recognise(plaintext: Secret, catalogue: Mapping[str, ProviderEntry]) -> list[Match]:
    """Every shape that the secret fits in full, in catalogue order. Badly formed secrets fit nothing."""
    try:
        text = _check_form(plaintext)
    except InvalidInput:
        return []
    return [Match(slug, shape) for slug, entry in catalogue.items() for shape in entry.shapes if _fits(text, shape)]


def check_shape(
    plaintext: Secret,
    entry: ProviderEntry,
    catalogue: Mapping[str, ProviderEntry],
    *,
    environment: str = "",
) -> Shape | None:
    """The shape that the secret has at this provider; None when the provider declares no shapes.

    Raises InvalidInput on field `secret`: secret_empty, secret_too_long, secret_has_control_characters,
    secret_has_spaces, secret_not_ascii, provider_mismatch, checksum_mismatch, unknown_shape, mode_mismatch.
    """
    text = _check_form(plaintext)
    shape = next((each for each in entry.shapes if _fits(text, each)), None)
    if shape is not None:
        _check_mode(shape, entry, environment)
        return shape
    _check_checksum(text, entry)
    others = [match for match in recognise(plaintext, catalogue) if match.slug != entry.slug]
    if others:
        raise _refuse(
            "provider_mismatch",
            f"This looks like {_article(others[0].shape.label)}, not {_article(entry.name)} key",
        )
    if entry.shapes:
        known = ", ".join(dict.fromkeys(each.label for each in entry.shapes))
        raise _refuse("unknown_shape", f"This does not look like any {entry.name} credential that we know ({known})")
    return None


def hint(plaintext: Secret) -> str:
    """The last four characters, so that people can tell keys apart; nothing for a short secret."""
    try:
        text = plaintext.reveal_text()
    except UnicodeDecodeError:
        return ""
    return text[-HINT_LENGTH:] if len(text) >= HINT_MIN_LENGTH else ""


def mode_of(plaintext: Secret, entry: ProviderEntry) -> str:
    """`live` or `test` when the form of the secret says so; empty otherwise."""
    matches = recognise(plaintext, {entry.slug: entry})
    return next((match.shape.mode for match in matches if match.shape.mode in {LIVE, "test"}), "")


def _check_form(plaintext: Secret) -> str:
    """The text, when it is something that a header can carry."""
    raw = plaintext.reveal()
    if not raw:
        raise _refuse("secret_empty", "Paste the secret")
    if len(raw) > MAX_BYTES:
        raise _refuse("secret_too_long", "The secret is longer than 16 KiB")
    if _CONTROL.search(raw):
        raise _refuse("secret_has_control_characters", "The secret holds a line break or another control character")
    if b" " in raw:
        raise _refuse("secret_has_spaces", "The secret holds a space; check that nothing else was copied with it")
    if not raw.isascii():
        raise _refuse("secret_not_ascii", "The secret holds characters that no provider uses; copy it again")
    return raw.decode("ascii")


def _check_mode(shape: Shape, entry: ProviderEntry, environment: str) -> None:
    if not environment or shape.mode not in {"live", "test"}:
        return
    if shape.mode == "test" and environment == PRODUCTION:
        raise _refuse("mode_mismatch", f"This is a test-mode {entry.name} key; production needs a live one")
    if shape.mode == "live" and environment != PRODUCTION:
        raise _refuse("mode_mismatch", f"This is a live {entry.name} key; use a test-mode one outside production")


def _check_checksum(text: str, entry: ProviderEntry) -> None:
    """The right form with the wrong checksum is a typing or copying error: say so."""
    if any(shape.checksum and _pattern(shape.pattern).fullmatch(text) for shape in entry.shapes):
        raise _refuse("checksum_mismatch", f"The checksum inside this {entry.name} token is wrong; copy it again")


def _fits(text: str, shape: Shape) -> bool:
    if not _pattern(shape.pattern).fullmatch(text):
        return False
    return shape.checksum != "github-crc32" or _has_github_checksum(text)


def _has_github_checksum(text: str) -> bool:
    """The last six characters are the CRC32 of the random part, in base 62."""
    body = text.rpartition("_")[2]
    number, digits = zlib.crc32(body[:-_CRC_LENGTH].encode()), ""
    while number:
        number, rest = divmod(number, len(_BASE62))
        digits = _BASE62[rest] + digits
    return body[-_CRC_LENGTH:] == digits.rjust(_CRC_LENGTH, "0")


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "AEIOUaeiou" else f"a {words}"


def _refuse(code: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, code=code, field="secret")
