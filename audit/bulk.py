"""Statements over thousands of rows: arrays travel to the server in binary, not as text that is spliced into SQL.

Django's own cursor binds on the client, where writing a text array takes most of its time in a regular expression.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def bulk_cursor(alias: str) -> Iterator[psycopg.Cursor[Any]]:
    """A psycopg cursor on Django's connection, inside the transaction that is open; errors come as Django's."""
    wrapper: Any = connections[alias]
    if not wrapper.in_atomic_block:
        message = "a bulk statement belongs into a transaction"
        raise RuntimeError(message)
    with wrapper.wrap_database_errors, psycopg.Cursor(wrapper.connection) as cursor:
        yield cursor
