"""Makes two tenants in the database of the environment and prints who they are, as JSON.

A process of its own, because the database is not the one that the tests' own Django knows.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Final

SCOPES: Final = ("key:use", "key:read", "key:suspend", "key:resume", "audit:read")
SOON: Final = 7


def seed() -> list[dict[str, Any]]:
    """Two tenants: a consumer that uses one key and changes another; the one that is used ends soon."""
    from datetime import timedelta  # noqa: PLC0415  # settings must be ready

    from django.utils import timezone  # noqa: PLC0415

    from tests.world import World  # noqa: PLC0415

    world, made = World(), []
    for word in ("acme", "globex"):
        cast = world.tenant(word)
        used = world.key(cast, ends_on=timezone.now().date() + timedelta(days=SOON))
        changed, credential = world.key(cast), world.consumer(cast, scopes=SCOPES)
        world.grant(cast, used, credential)
        made.append(
            {
                "id": str(cast.id),
                "slug": cast.slug,
                "owner": cast.owner.email,
                "consumer": str(credential.consumer.id),
                "token": credential.token,
                "used": used.slug,
                "changed": changed.slug,
            }
        )
    return made


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "byok_portal.settings")
    import django
    from django.conf import settings

    django.setup()
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]
    sys.stdout.write(json.dumps(seed()))
