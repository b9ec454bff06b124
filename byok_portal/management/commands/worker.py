"""`manage.py worker`: background work, under a watchdog. Start one per host."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from byok_portal.boundary import watchdog


class Command(BaseCommand):
    """A django-q2 cluster under a watchdog."""

    help = "Run background jobs (a django-q2 cluster) with a watchdog that restarts it when it goes silent."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--every", type=float, default=watchdog.EVERY, help="Seconds between looks.")
        parser.add_argument("--silence", type=float, default=watchdog.SILENCE.total_seconds(), help="Seconds allowed.")

    def handle(self, *_args: Any, every: float, silence: float, **_options: Any) -> None:
        watchdog.serve(every=every, silence=timedelta(seconds=silence))
