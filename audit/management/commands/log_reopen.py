"""`manage.py log_reopen`: after a restore with loss, open the log under a new name, and say so in the record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from audit import reopening
from audit.sequencer import ALIAS
from byok_portal.errors import PortalError

if TYPE_CHECKING:
    from audit.notes import Checkpoint, Signer
    from audit.reopening import Plan

_ASK: Final = """\
Signed as {old.origin}: {old.size} entries, root {root}
The log now: {now.size} entries. It does not extend what was signed: {reason}.

It will be opened as {origin}. The record will say so; tenants will see that their older heads do not fit.
"""
_NEXT: Final = """\
Opened as {head.origin} at {head.size} entries; the record quotes the old head. Nothing is signed yet. Now:
1. sequencer hosts: BYOK_LOG_KEY_FILE={key}; the pin is moved, copy it to the standbys
2. web, sequencer and auditors: BYOK_LOG_VKEY={vkey}
3. the witness: trust that key; auditors: begin a new pin file
4. tell tenants the new key, and why byok-verify answers 22 for a head of {old}
5. start the sequencer, then restart web
"""


class Command(BaseCommand):
    """Runs on the sequencer's host, with its environment of before, while no sequencer runs."""

    help = "After a restore that lost signed entries: open the log under a new name. Refuses while the log is whole."
    requires_system_checks: list[str] = []  # the sequencer's host serves no page

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--key", type=Path, required=True, help="File of the new key; made if it is missing.")
        parser.add_argument("--origin", default="", help="The new name; else the old one with the next number.")
        parser.add_argument("--old", type=Path, help="An old checkpoint or tlog-proof that somebody kept.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *_args: Any, key: Path, origin: str, old: Path | None, yes: bool, **_options: Any) -> None:
        if ALIAS not in connections.settings:
            message = "DATABASE_URL_SEQUENCER is not set: only the sequencer's login numbers the record."
            raise CommandError(message)
        try:
            plan = reopening.prepare(old_file=old)
            name = origin or reopening.next_name(plan.old.checkpoint.origin)
            reopening.check_name_is_new(name, plan)
            if not yes:
                self._confirm(plan, name)
            signer = reopening.make_key(key, name)
            head = reopening.reopen(plan, name)
        except PortalError as error:
            raise CommandError(f"Not opened anew: {error.detail}") from None
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from None
        finally:
            connections[ALIAS].close()
        self._tell(plan, head, signer, key)

    def _confirm(self, plan: Plan, name: str) -> None:
        old = plan.old.checkpoint
        self.stdout.write(_ASK.format(old=old, root=old.root.hex(), now=plan.now, reason=plan.reason, origin=name))
        try:
            typed = input("Type the new name to go on: ")
        except EOFError:
            typed = ""
        if typed.strip() != name:
            message = "Nothing was changed."
            raise CommandError(message)

    def _tell(self, plan: Plan, head: Checkpoint, signer: Signer, key: Path) -> None:
        self.stdout.write(_NEXT.format(head=head, key=key.resolve(), vkey=signer.vkey, old=plan.old.checkpoint.origin))
