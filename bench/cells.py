"""A seeded portal on a PostgreSQL of its own, kept between runs or thrown away; and who visits it.

Run as a program it seeds one, or signs its visitors in: Django's settings are one portal's for a whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psycopg  # noqa: E402
from rich.progress import Progress  # noqa: E402

from bench import seeding  # noqa: E402
from bench.audit_log import prepare  # noqa: E402
from byok_portal.quickstart import state  # noqa: E402
from byok_portal.quickstart.postgres import Cluster  # noqa: E402

if TYPE_CHECKING:
    from uuid import UUID

    from bench.driving import Use
    from bench.seeding import Sizes

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"
_SETTINGS = ("DATABASE_URL", "BYOK_", "SECRET_KEY", "EMAIL_URL", "BASE_URL", "DJANGO_SETTINGS_MODULE", "LOG_LEVEL")


class Cell:
    """One of them: `start` makes it or finds it, `stop` ends it and, unless it is kept, removes its data."""

    def __init__(self, name: str, sizes: Sizes, *, keep: bool) -> None:
        self.sizes, self.keep = sizes, keep
        self.cluster = Cluster(state.state_folder(name), durable=True)
        self.uses: list[Use] = []

    def start(self) -> None:
        """Running and seeded."""
        self.cluster.start()
        if not self._is_seeded():
            sizes = [text for name, value in asdict(self.sizes).items() for text in (f"--{name}", str(value))]
            self._child(self.environment, "seed", *sizes)
        kept = self._read()
        self.uses = [(tenant, key, token) for tenant, key, token in kept["uses"]]

    def stop(self) -> None:
        """The server; and its data."""
        self.cluster.stop()
        if not self.keep:
            state.remove_tree(self.cluster.folder)

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the portal in it. Its port may be another than when it was made."""
        kept = self._read()
        settings = {
            name: value.replace(f":{kept['port']}/", f":{self.cluster.port}/") if "DATABASE" in name else value
            for name, value in kept.get("settings", {}).items()
        }
        return {**os.environ, **settings}

    def visitors(self) -> dict[str, Any]:
        """Who visits, newly signed in, and what they look at."""
        out = self._child(self.environment, "visit")
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def _child(self, environment: dict[str, str], *arguments: str) -> str:
        command = [sys.executable, str(Path(__file__)), str(self.cluster.folder), *arguments]
        shown = subprocess.PIPE if arguments[0] == "visit" else None
        done = subprocess.run(command, check=True, env=environment, stdout=shown, text=True, cwd=ROOT)
        return done.stdout or ""

    def _read(self) -> dict[str, Any]:
        path = _file_of(self.cluster.folder)
        return dict(json.loads(path.read_text())) if path.exists() else {"port": 0}

    def _is_seeded(self) -> bool:
        kept = self._read()
        if kept.get("sizes") != asdict(self.sizes):
            return False
        return Path(kept["settings"]["BYOK_KEY_FILE"]).exists()


def _file_of(folder: Path) -> Path:
    return folder / "seeded.json"


def seed(cluster: Cluster, sizes: Sizes) -> None:
    """In the child: everything that a portal of these sizes holds."""
    admin_url = prepare(cluster.admin_url())
    import django  # noqa: PLC0415

    django.setup()
    with Progress() as progress:
        task = progress.add_task("seeding", total=None)
        seeding.seed(
            admin_url, sizes, beside=True, note=lambda what: progress.update(task, description=f"seeding: {what}")
        )
        uses = seeding.seal_hot()
        progress.update(task, total=1, completed=1)
        task = progress.add_task(f"{sizes.entries:,} entries", total=sizes.entries)
        seeding.number_entries(admin_url, sizes.entries, lambda done: progress.update(task, completed=done))
        task = progress.add_task("vacuum", total=None)
        seeding.tidy(admin_url)
    settings = {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}
    kept = {"sizes": asdict(sizes), "port": cluster.port, "settings": settings, "uses": uses}
    state.write_private(_file_of(cluster.folder), json.dumps(kept))


def visit(cluster: Cluster) -> dict[str, Any]:
    """In the child: a signed-in owner, a token, and things to look at, of the largest tenant and of an ordinary one."""
    import django  # noqa: PLC0415

    django.setup()
    ordinary = json.loads(_file_of(cluster.folder).read_text())["uses"][-1][0]
    with psycopg.connect(cluster.admin_url("byok_bench")) as admin:
        found = admin.execute("SELECT slug, id FROM tenants_tenant WHERE slug = ANY(%s)", [[seeding.LARGEST, ordinary]])
        ids = dict(found.fetchall())
    return {
        "largest": _visitor(seeding.LARGEST, ids[seeding.LARGEST]),
        "ordinary": _visitor(ordinary, ids[ordinary]),
        "staff": _staff(),
    }


def _visitor(slug: str, tenant_id: UUID) -> dict[str, Any]:
    from django.db import transaction  # noqa: PLC0415

    from audit import selectors as record  # noqa: PLC0415
    from byok_portal.boundary import binding  # noqa: PLC0415
    from byok_portal.boundary.permissions import TOKEN_PERMISSIONS  # noqa: PLC0415
    from keys.models import Incident, Key  # noqa: PLC0415
    from tenants.models import Membership  # noqa: PLC0415

    with binding.bind_tenant(tenant_id):
        with binding.reading():
            person = Membership.objects.select_related("user").order_by("user__email")[0].user
            newest = record.search(limit=1)[0]
            old = record.search(older_than=newest.tseq // 2, limit=1)[0]
            key, incident = Key.objects.get(slug="key-1"), Incident.objects.order_by("id").first()
        with transaction.atomic():
            token = seeding.issue_token(tenant_id, sorted(permission.value for permission in TOKEN_PERMISSIONS))
    return {
        "tenant": slug,
        "session": _sign_in(person),
        "token": token,
        "key": key.slug,
        "key_id": str(key.id),
        "event": str(old.event_id),
        "tseq": old.tseq,
        "incident": str(incident.id) if incident else "",
    }


def _staff() -> dict[str, str]:
    from tenants.models import User  # noqa: PLC0415

    email = "staff@platform.example"
    found = User.objects.using("owner").filter(email=email).first()
    return {
        "session": _sign_in(found or User.objects.db_manager("owner").create_superuser(email, os.urandom(16).hex()))
    }


def _sign_in(person: Any) -> str:
    from django.conf import settings  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    browser = Client(headers={"Host": "localhost"})
    browser.force_login(person, backend=BACKEND)
    return f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"


def main() -> None:
    """`cells.py FOLDER seed --tenants … --keys … --entries …`, or `cells.py FOLDER visit`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["seed", "visit"])
    for name in ("tenants", "keys", "entries"):
        parser.add_argument(f"--{name}", type=int, default=0)
    arguments = parser.parse_args()
    cluster = Cluster(arguments.folder, durable=True)
    if arguments.what == "visit":
        print(json.dumps(visit(cluster)))  # noqa: T201
    else:
        seed(cluster, seeding.Sizes(arguments.tenants, arguments.keys, arguments.entries))


if __name__ == "__main__":
    main()
