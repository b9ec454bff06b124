#!/usr/bin/env python
"""Django's command line. On a quick-start machine it finds the settings that `manage.py up` wrote."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command; `up` and every later command share one environment file."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "byok_portal.settings")
    if sys.argv[1:2] == ["witness"]:
        # Another administrator's machine: it has no database, and none of the portal's settings.
        os.environ.setdefault("BYOK_BUILD", "1")
    if not {"DATABASE_URL", "DATABASE_URL_FILE", "BYOK_BUILD"} & os.environ.keys():
        from byok_portal import environment  # noqa: PLC0415  # only on a quick-start machine

        environment.load(prepare="up" in sys.argv[1:2])
    from django.core.management import execute_from_command_line  # noqa: PLC0415  # after the environment

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
