"""The peer that everybody would write first: a Django view with one SELECT and one INSERT in a transaction.

No decision, no sealing, no proof: it authenticates by the token's digest, reads the same context and appends a row.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "byok_portal.settings")

import django
from django.conf import settings

django.setup()
settings.ROOT_URLCONF = __name__
settings.MIDDLEWARE = []

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from byok_portal.boundary.identifiers import new_id  # noqa: E402
from keys.gate.statements import CONTEXT_NAMES, CONTEXTS  # noqa: E402

_TENANT = CONTEXT_NAMES.index("tenant_id")
_ONE = re.sub(r"\$(\d)", r"%(p\1)s", CONTEXTS.sql.replace("%", "%%"))


@csrf_exempt
def use(request: HttpRequest, tenant: str, key: str) -> JsonResponse:
    """One use of a key; the tenant is the token's."""
    del tenant
    asked = json.loads(request.body)
    digest = hashlib.sha256(request.headers["Authorization"].removeprefix("Bearer ").encode()).digest()
    event = new_id()
    with transaction.atomic(), connection.cursor() as cursor:
        values: list[Any] = [[digest], [None], [key], [asked["scope"]], [False], [False], [], [0]]
        cursor.execute(_ONE, {f"p{number}": value for number, value in enumerate(values, start=1)})
        row = cursor.fetchone()
        if row is None:
            return JsonResponse({"code": "unauthenticated"}, status=401)
        body = json.dumps({"id": str(event), "action": "key.used", "detail": asked, "key": str(key)})
        cursor.execute(
            "INSERT INTO audit_inbox (event_id, tenant_id, body) VALUES (%s, %s, %s)", [event, row[1][_TENANT], body]
        )
    return JsonResponse({"allowed": True, "audit_id": str(event)})


urlpatterns = [path("api/v1/tenants/<str:tenant>/keys/<str:key>/use/", use)]
application = get_wsgi_application()
