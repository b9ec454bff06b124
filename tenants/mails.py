"""The mails of the portal, in words: text and HTML, made when they are sent and kept nowhere. Never a secret.

The one exception is an invitation, whose link is handed in as a `Secret` and leaves in that mail alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from tenants import notices
from tenants.models import Consumer, Mail, Membership, Notice, RecipientKind, Tenant, User
from tenants.notices import Severity

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.secrets import Secret

MOST: Final = 40
"""Notices that one mail spells out; the inbox has the rest."""


@dataclass(frozen=True, slots=True)
class _Sender:
    """On whose behalf the portal writes: a tenant, or the platform itself."""

    name: str
    slug: str

    def path(self, page: str, staff_page: str) -> str:
        return reverse(page, args=[self.slug]) if self.slug else reverse(staff_page)


def find_address(kind: str, recipient_id: UUID) -> str:
    """Where mail of the bound tenant goes for this recipient; empty for one who has left or has no address."""
    if kind == RecipientKind.CONSUMER:
        active = Consumer.objects.filter(id=recipient_id, state=Consumer.State.ACTIVE)
        return str(active.values_list("contact", flat=True).first() or "")
    people = User.objects.filter(pk=recipient_id, is_active=True)
    if binding.get_tenant() == PLATFORM:
        people = people.filter(is_staff=True)
    elif not Membership.objects.filter(user_id=recipient_id, is_active=True).exists():
        return ""
    return str(people.values_list("email", flat=True).first() or "")


def compose(mail: Mail) -> EmailMultiAlternatives | None:
    """The mail with its notices, or None when there is nobody to send it to any more. Reads the bound tenant."""
    address = find_address(mail.recipient_kind, mail.recipient_id)
    rows = list(Notice.objects.filter(mail_id=mail.id).order_by("created_at", "id"))
    if not address or not rows:
        return None
    sender = _sender()
    # A mail has no session that could tell its reader's language.
    with translation.override(settings.LANGUAGE_CODE):
        said = [notices.say(row.kind, row.facts, slug=sender.slug) for row in rows]
        said.sort(key=lambda each: -each.severity)
        is_person = mail.recipient_kind == RecipientKind.PERSON
        context = {
            "tenant": sender.name,
            "title": _title(said),
            "items": [_item(each, linked=is_person) for each in said[:MOST]],
            "left": max(0, len(said) - MOST),
            "inbox_url": _absolute(sender.path("tenants:inbox", "admin:tenants_notice_changelist"))
            if is_person
            else "",
            "preferences_url": _absolute(reverse("tenants:preferences", args=[sender.slug]))
            if is_person and sender.slug
            else "",
        }
        return _message(mail, address, f"[{sender.name}] {context['title']}", "notices", context)


def compose_invitation(mail: Mail, *, role: str, plaintext: Secret) -> EmailMultiAlternatives:
    """The invitation with its link. Must never be logged, queued or kept."""
    address = User.objects.get(pk=mail.recipient_id).email
    sender = _sender()
    with translation.override(settings.LANGUAGE_CODE):
        title = _("You are invited to %(tenant)s") % {"tenant": sender.name}
        context = {
            "tenant": sender.name,
            "title": title,
            "role": role,
            "link": plaintext.reveal_text(),
            "days": settings.INVITATION_DAYS,
        }
        return _message(mail, address, title, "invitation", context)


def message_id(mail: Mail) -> str:
    """The same for every attempt, so that a mail server or a reader can see that two are one."""
    return f"<{mail.id}@{settings.DEFAULT_FROM_EMAIL.rsplit('@', 1)[-1].strip('> ')}>"


def _message(mail: Mail, address: str, subject: str, template: str, context: dict[str, Any]) -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(
        subject=" ".join(subject.split()),
        body=render_to_string(f"mail/{template}.txt", context),
        to=[address],
        # RFC 3834: no answering machine answers.
        headers={"Message-ID": message_id(mail), "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(render_to_string(f"mail/{template}.html", context), "text/html")
    return message


def _item(said: notices.Said, *, linked: bool) -> dict[str, str]:
    return {
        "subject": said.subject,
        "text": said.text,
        "severity": said.severity_label,
        "url": said.url if linked else "",
    }


def _title(said: list[notices.Said]) -> str:
    if len(said) == 1:
        return said[0].subject
    urgent = sum(each.severity is Severity.CRITICAL for each in said)
    title = ngettext("%(n)d notice", "%(n)d notices", len(said)) % {"n": len(said)}
    return title + (", " + ngettext("%(n)d urgent", "%(n)d urgent", urgent) % {"n": urgent} if urgent else "")


def _sender() -> _Sender:
    tenant_id = binding.get_tenant()
    if tenant_id == PLATFORM:
        return _Sender(_("Platform"), "")
    tenant = Tenant.objects.get(id=tenant_id)
    return _Sender(tenant.name, tenant.slug)


def _absolute(path: str) -> str:
    return settings.BASE_URL.rstrip("/") + path
