"""What people are told about exposed keys, at once and by mail whatever they prefer."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_lazy as _

from tenants.models import Channel
from tenants.notices import Kind, Severity

KINDS: Final = (
    Kind(
        "key.compromised",
        Severity.CRITICAL,
        _("A key is compromised"),
        _("%(key)s is compromised and was ended"),
        _("It was reported as exposed. Every version and grant of it has ended; look for uses that you do not know."),
        frozenset({"key", "key_slug"}),
        "keys:detail",
        ("key_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "key.quarantined",
        Severity.CRITICAL,
        _("A key is in quarantine"),
        _("%(key)s may be exposed and is in quarantine"),
        _("Every use is refused while its owners find out. A false alarm brings it back, or another credential."),
        frozenset({"key", "key_slug"}),
        "keys:detail",
        ("key_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "key.released",
        Severity.INFO,
        _("A quarantine was a false alarm"),
        _("%(key)s is out of quarantine"),
        _("It was a false alarm. Uses are allowed again, with the credential that it had."),
        frozenset({"key", "key_slug"}),
        "keys:detail",
        ("key_slug",),
        channel=Channel.AT_ONCE,
    ),
    Kind(
        "key.false_alarm",
        Severity.WARNING,
        _("A false alarm about a key that stays suspended"),
        _("%(key)s was not exposed, and stays suspended"),
        _("Its incident was closed as a false alarm, but something else keeps the key suspended."),
        frozenset({"key", "key_slug"}),
        "keys:detail",
        ("key_slug",),
    ),
)
