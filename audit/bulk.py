"""Statements over thousands of rows: values travel beside the SQL, not spliced into it.

Django's own cursor binds on the client. A long column goes as one text that the server takes apart (`joined`): psycopg
writes an array element by element, in Python, and a text array through a regular expression.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextmanager
def bulk_cursor(alias: str) -> Iterator[psycopg.Cursor[Any]]:
    """A psycopg cursor on Django's connection, inside the transaction that is open; errors come as Django's."""
    wrapper: Any = connections[alias]
    if not wrapper.in_atomic_block:
        message = "a bulk statement belongs into a transaction"
        raise RuntimeError(message)
    with wrapper.wrap_database_errors, psycopg.Cursor(wrapper.connection) as cursor:
        yield cursor


def joined(values: Iterable[object]) -> str:
    """A column whose values hold no comma, for `string_to_array(%b, ',')`; empty for none."""
    return ",".join(map(str, values))
