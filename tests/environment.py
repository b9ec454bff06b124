"""Sets up what tests run on before Django reads its settings: a throw-away PostgreSQL, roles, key file, addresses.

Loaded by `-p tests.environment`. Tests run as the plain run-time role; the superuser is used to set up and to attack.
"""

from __future__ import annotations

import os
import subprocess
import sys

from byok_portal import environment
from byok_portal.quickstart import roles, state
from byok_portal.quickstart.postgres import Cluster

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
DATABASE = f"byok_test_{WORKER}"
PASSWORDS = dict.fromkeys(roles.LOGINS, "only-on-this-machine")


def prepare() -> None:
    """Start the cluster (shared by all test processes) and put this process's settings into the environment."""
    if "BYOK_TEST_ADMIN_URL" not in os.environ:
        cluster = Cluster(state.state_folder("tests"), durable=False)
        cluster.start()
        os.environ["BYOK_TEST_ADMIN_URL"] = cluster.admin_url()
    admin_url = os.environ["BYOK_TEST_ADMIN_URL"]
    os.environ.update(
        {
            **environment.throwaway(admin_url, name=DATABASE, passwords=PASSWORDS, origin="portal.example/audit/test"),
            "BYOK_CHECKPOINT_SECONDS": "0.2",
            "BYOK_JOB_LEASE_SECONDS": "2",
            "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
            "CONN_MAX_AGE": "0",
            "LOG_LEVEL": "INFO",
            # Playwright keeps an event loop in the thread of the test that drives it.
            "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
        }
    )
    os.environ.pop("BYOK_BUILD", None)
    _collect_static()


def _collect_static() -> None:
    """Hashed static files, as in production; collected once for all test processes."""
    if "STATIC_ROOT" in os.environ:
        return
    os.environ["STATIC_ROOT"] = str(state.state_folder("tests-static"))
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    subprocess.run(command, cwd=state.CHECKOUT, check=True)


prepare()
