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
        "key.exposure_confirmed",
        Severity.CRITICAL,
        _("A suspected exposure is confirmed"),
        _("An earlier credential of %(key)s was exposed"),
        _("It is not in use any more and never comes back; the key has another. Look for uses that you do not know."),
        frozenset({"key", "key_slug"}),
        "keys:detail",
        ("key_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "key.successor_lost",
        Severity.WARNING,
        _("A successor may have been lost"),
        _("A successor of %(key)s may live unseen until %(until)s"),
        _(
            "A rotation died before what the provider made was stored, and its token role gives a long life at once. "
            "Look there for a token with the metadata byok_attempt %(attempt)s, and revoke it."
        ),
        frozenset({"key", "key_slug", "attempt", "until"}),
        "keys:detail",
        ("key_slug",),
    ),
    Kind(
        "key.released",
        Severity.INFO,
        _("A quarantine was a false alarm"),
        _("%(key)s is out of quarantine"),
        _("It was a false alarm. Uses are allowed."),
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
