"""What people and workloads are told: notices, the mails that carried them, and how each person wants to hear.

No text is stored: a notice holds a kind and its facts, a mail holds nothing but who and when. Never a secret.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from tenants.base import TenantModel, tenant_link
from tenants.models.people import User


class RecipientKind(models.TextChoices):
    """Who can be told."""

    PERSON = "person", "Person"
    CONSUMER = "consumer", "Consumer"


class Channel(models.TextChoices):
    """How a kind of notice reaches a person, beside the inbox, which has every one."""

    PORTAL = "portal", "Inbox only"
    DIGEST = "digest", "In a digest"
    AT_ONCE = "at_once", "By mail at once"


class Notice(TenantModel):
    """One thing said to one recipient, exactly once for its `dedupe`. The inbox is the channel that lasts.

    `mail_at`: when a mail should carry it, null for the inbox only; `mail`: the one mail that did.
    """

    recipient_kind = models.CharField(max_length=10, choices=RecipientKind.choices, default=RecipientKind.PERSON)
    recipient_id = models.UUIDField()
    kind = models.CharField(max_length=40)
    subject_kind = models.CharField(max_length=20)
    subject_id = models.UUIDField()
    dedupe = models.CharField(max_length=160)
    facts = models.JSONField(default=dict)
    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.PORTAL)
    mail_at = models.DateTimeField(null=True, blank=True)
    mail = tenant_link("tenants.Mail", null=True)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "recipient_id", "dedupe"], name="tenants_notice_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "recipient_id", "-created_at", "-id"], name="tenants_notice_inbox"),
            models.Index(
                fields=["tenant", "recipient_id"],
                condition=models.Q(read_at__isnull=True),
                name="tenants_notice_unread",
            ),
            models.Index(
                fields=["mail_at"],
                condition=models.Q(mail__isnull=True, mail_at__isnull=False),
                name="tenants_notice_unmailed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.recipient_id}"


class Mail(TenantModel):
    """One mail, claimed before it is sent and confirmed after (docs/decisions/0014-mail-at-most-once.md).

    `unconfirmed`: it may have been sent or not, and nothing sends it again by itself. The text is made from its
    notices when it is sent, and an invitation's link is never stored.
    """

    class Kind(models.TextChoices):
        NOTICES = "notices", "Notices"
        INVITATION = "invitation", "Invitation"

    class State(models.TextChoices):
        QUEUED = "queued", "Waiting"
        UNCONFIRMED = "unconfirmed", "Not confirmed"
        SENT = "sent", "Sent"
        DROPPED = "dropped", "Not sent"

    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.NOTICES)
    recipient_kind = models.CharField(max_length=10, choices=RecipientKind.choices, default=RecipientKind.PERSON)
    recipient_id = models.UUIDField()
    is_digest = models.BooleanField(default=False)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    attempts_allowed = models.PositiveSmallIntegerField(
        default=0, help_text="Of the job when it claimed the mail: a person who retries the job raises it."
    )
    claimed_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=60, blank=True, help_text="Error type or code, never its text.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(state__in=["queued", "unconfirmed", "sent", "dropped"]), name="tenants_mail_state"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "recipient_id", "-created_at"], name="tenants_mail_recent"),
            models.Index(fields=["-created_at", "-id"], name="tenants_mail_newest"),
        ]

    def __str__(self) -> str:
        return f"mail to {self.recipient_id} ({self.state})"


class NoticePreference(TenantModel):
    """How one person wants to hear of one kind. Without a row the kind's own default holds."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, db_constraint=False, related_name="+")
    kind = models.CharField(max_length=40)
    channel = models.CharField(max_length=10, choices=Channel.choices)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "user", "kind"], name="tenants_preference_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.channel}"


class Reminder(TenantModel):
    """What was said about one deadline, and when to look again: the sweep's memory, so that nothing is said twice.

    `stage`: days that were left when something was last said; negative for days past. `next_on`: null when all is said.
    """

    kind = models.CharField(max_length=20)
    subject_id = models.UUIDField()
    due_on = models.DateField()
    stage = models.SmallIntegerField()
    next_on = models.DateField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "kind", "subject_id", "due_on"], name="tenants_reminder_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} on {self.due_on}: said at {self.stage}"
