"""What people are told about keys and contracts. Every fact is a name, a slug, a day or a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext_lazy as _

from keys import incident_notices
from tenants import notices
from tenants.models import Channel
from tenants.notices import Kind, Severity

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

_KEY: Final = frozenset({"key", "key_slug", "day", "days"})
_GRANT: Final = _KEY | {"consumer"}


def _soon(name: str, title: _StrPromise, subject: _StrPromise, text: _StrPromise, facts: frozenset[str]) -> Kind:
    return Kind(name, Severity.WARNING, title, subject, text, facts, "keys:detail", ("key_slug",))


def _passed(name: str, title: _StrPromise, subject: _StrPromise, text: _StrPromise) -> Kind:
    return Kind(
        name,
        Severity.CRITICAL,
        title,
        subject,
        text,
        _KEY,
        "keys:detail",
        ("key_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    )


KINDS: Final = (
    Kind(
        "key.hand_over_opened",
        Severity.CRITICAL,
        _("A key needs a second owner"),
        _("%(key)s needs a second owner by %(day)s"),
        _("Somebody who answered for it has left. Name two owners by %(day)s, or it is suspended; rotate it as well."),
        frozenset({"key", "key_slug", "day"}),
        "keys:detail",
        ("key_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    _soon(
        "key.ends_soon",
        _("A key is about to end"),
        _("%(key)s ends on %(day)s"),
        _("It is refused after %(day)s, in %(days)s days. Move its end date, or revoke it when nobody needs it."),
        _KEY,
    ),
    _passed(
        "key.end_passed",
        _("A key has ended and nobody revoked it"),
        _("%(key)s ended on %(day)s and still exists at its provider"),
        _("Uses are refused here since then, %(days)s days ago. Revoke it, so that its provider refuses it as well."),
    ),
    _soon(
        "key.rotation_due",
        _("A rotation is about to be due"),
        _("%(key)s is to be rotated by %(day)s"),
        _("Its policy wants another version in %(days)s days."),
        _KEY,
    ),
    _passed(
        "key.rotation_overdue",
        _("A rotation is overdue"),
        _("%(key)s was to be rotated by %(day)s"),
        _("Its rotation is overdue for %(days)s days. What follows is in its policy."),
    ),
    _soon(
        "key.credential_expires",
        _("A credential is about to expire"),
        _("The credential of %(key)s expires on %(day)s"),
        _("Its provider refuses it after %(day)s, in %(days)s days. Rotate the key before."),
        _KEY,
    ),
    _passed(
        "key.credential_expired",
        _("A credential has expired"),
        _("The credential of %(key)s expired on %(day)s"),
        _("Its uses are refused since then, %(days)s days ago. Rotate the key, or revoke it."),
    ),
    _soon(
        "key.grant_ends",
        _("A grant is about to end"),
        _("%(consumer)s may use %(key)s until %(day)s"),
        _("The grant ends in %(days)s days. Grant it again if the consumer still needs the key."),
        _GRANT,
    ),
    _soon(
        "key.proof_expires",
        _("A proof of control is about to expire"),
        _("The proof of %(key)s expires on %(day)s"),
        _("Prove control of the key again within %(days)s days."),
        _KEY,
    ),
    _passed(
        "key.proof_expired",
        _("A proof of control has expired"),
        _("The proof of %(key)s expired on %(day)s"),
        _("Nobody has shown control of the key for %(days)s days since. Prove it again."),
    ),
    Kind(
        "key.canary_used",
        Severity.CRITICAL,
        _("A canary key was used"),
        _("%(key)s, which nobody has a reason to use, was used by %(consumer)s"),
        _("This was no drill. Look at the entry %(entry)s in the audit log, and at what else this consumer has done."),
        frozenset({"key", "key_slug", "consumer", "entry"}),
        "keys:detail",
        ("key_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "drill.failed",
        Severity.CRITICAL,
        _("A drill failed"),
        _("The %(kind)s drill failed: %(code)s"),
        _("What was measured stands on its page. Until it passes, do not rely on what it rehearses."),
        frozenset({"kind", "code"}),
        "keys:drills",
        channel=Channel.AT_ONCE,
    ),
    Kind(
        "campaign.asked",
        Severity.WARNING,
        _("Keys to confirm"),
        _("%(campaign)s: confirm %(count)s keys by %(day)s"),
        _("Look at what each key is for, what it may do and who uses it, and say whether that is still right."),
        frozenset({"campaign", "count", "day"}),
        "keys:my-keys",
    ),
    Kind(
        "key.disowned",
        Severity.CRITICAL,
        _("A key is not its owner's any more"),
        _("%(key)s: its owner says that somebody else answers for it"),
        _("Hand it over to somebody who does. They are asked to confirm it by %(day)s."),
        frozenset({"key", "key_slug", "day"}),
        "keys:hand-over",
        ("key_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "key.confirmation_due",
        Severity.WARNING,
        _("A key is to be confirmed"),
        _("Confirm %(key)s by %(day)s"),
        _("In %(days)s days it counts as not confirmed, with what follows from that."),
        _KEY,
        "keys:recertify",
        ("key_slug",),
    ),
    Kind(
        "key.confirmation_overdue",
        Severity.CRITICAL,
        _("A key was not confirmed"),
        _("%(key)s was to be confirmed by %(day)s"),
        _("No owner has confirmed it for %(days)s days since. Its campaign or its policy says what follows."),
        _KEY,
        "keys:recertify",
        ("key_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "tenant.contract_ends",
        Severity.WARNING,
        _("The contract is about to end"),
        _("The contract ends on %(day)s"),
        _("It ends in %(days)s days. Every key of this tenant ends with it: plan for what uses them."),
        frozenset({"day", "days"}),
        "keys:list",
        may_mute=False,
    ),
    Kind(
        "tenant.contract_ended",
        Severity.CRITICAL,
        _("The contract has ended"),
        _("The contract ended on %(day)s"),
        _("It ended %(days)s days ago and the tenant is still open. Renew it, or the keys will be taken down."),
        frozenset({"day", "days"}),
        "keys:list",
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "project.ends_soon",
        Severity.WARNING,
        _("A project is about to end"),
        _("%(project)s ends on %(day)s"),
        _("It ends in %(days)s days, and its keys and consumers with it: plan for what uses them."),
        frozenset({"project", "project_slug", "day", "days"}),
        "keys:project",
        ("project_slug",),
    ),
    Kind(
        "project.end_passed",
        Severity.CRITICAL,
        _("A project has ended and is still open"),
        _("%(project)s was to end on %(day)s"),
        _("That was %(days)s days ago. End it, or move its last day; its keys still work."),
        frozenset({"project", "project_slug", "day", "days"}),
        "keys:project",
        ("project_slug",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "offboarding.started",
        Severity.CRITICAL,
        _("An offboarding was started by its end date"),
        _("The end of the %(what)s on %(day)s has started its offboarding"),
        _("As agreed before. Every use is refused since then; the page shows each step and what is left to people."),
        frozenset({"what", "day", "run"}),
        "keys:run",
        ("run",),
        channel=Channel.AT_ONCE,
        may_mute=False,
    ),
    Kind(
        "offboarding.residuals",
        Severity.WARNING,
        _("An offboarding has left something to people"),
        _("%(count)s steps of the offboarding of a %(what)s are left to people"),
        _("They could not be done from here. The page says for each what to do, and takes your word that it is done."),
        frozenset({"what", "count", "run"}),
        "keys:run",
        ("run",),
        may_mute=False,
    ),
    Kind(
        "staff.nobody_acted",
        Severity.WARNING,
        _("Nobody acted on a deadline"),
        _("%(tenant)s: %(count)s deadlines have passed and nobody acted"),
        _("The oldest was on %(day)s. Owner, backup owner and tenant owners were told."),
        frozenset({"tenant", "tenant_id", "count", "day"}),
        "admin:tenants_tenant_change",
        ("tenant_id",),
        may_mute=False,
        for_staff=True,
    ),
)


def install() -> None:
    """Called once when the app is ready."""
    notices.declare(*KINDS, *incident_notices.KINDS)
