"""Searches the whole world for a secret: every column of every table, logs, mails, and what was answered."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg


def forms_of(secret: str) -> dict[str, bytes]:
    """The secret and its usual disguises. Base64 is searched at each of its three alignments."""
    raw = secret.encode()
    forms = {"plain": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode()}
    forms["url"] = quote(secret, safe="").encode()
    forms["reversed"] = raw[::-1]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        forms[f"base64+{shift}"] = encoded[4 : -4 - len(encoded) % 4]
    return forms


def find_in_bytes(place: str, content: bytes, forms: dict[str, bytes]) -> list[str]:
    return [f"{place}: {name}" for name, form in forms.items() if form in content]


def find_in_database(admin: psycopg.Connection, secret: str) -> list[str]:
    """Every row of every table as text, and every bytea column in raw bytes too (hex is PostgreSQL's text of it)."""
    found: list[str] = []
    tables = admin.execute(
        "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables "
        "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall()
    assert len(tables) > 20
    for (table,) in tables:
        for name, form in forms_of(secret).items():
            row = admin.execute(
                f"SELECT count(*) FROM {table} t WHERE strpos(t::text, %s) > 0",  # noqa: S608
                [form.decode()],
            ).fetchone()
            if row and row[0]:
                found.append(f"{table}: {name} in {row[0]} rows")
    return found


def find_in_files(folders: Iterable[Path], secret: str) -> list[str]:
    found: list[str] = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                found += find_in_bytes(str(path), path.read_bytes(), forms_of(secret))
    return found


def mail_folder() -> Path:
    return Path(os.environ["EMAIL_URL"].removeprefix("filemail://"))
