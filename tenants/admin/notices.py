"""The staff member's own inbox, and every mail's fate, in the staff door. No text of any mail is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.utils.html import format_html

from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.boundary.staff import ANSWERABLE, StaffAdmin
from byok_portal.boundary.staff_lists import NEWEST, LongList, WordFilter
from tenants import notices as kinds
from tenants.admin.filters import TenantFilter, TenantNamed
from tenants.models import Mail, Notice, RecipientKind
from tenants.services import notices

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(Notice)
class NoticeAdmin(StaffAdmin):
    """What the portal said to this staff member; a tenant's inboxes are nobody else's."""

    list_display = ("subject", "severity", "created_at", "read_at")
    ordering = ("-created_at",)
    actions = ("mark_read",)
    fields = readonly_fields = ("subject", "severity", "text", "created_at", "read_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notice]:
        own: QuerySet[Notice] = super().get_queryset(request)
        user_id: Any = request.user.pk  # never None: admin_view let only a signed-in person through
        return own.filter(tenant_id=PLATFORM, recipient_id=user_id)

    @admin.display(description="notice")
    def subject(self, notice: Notice) -> str:
        said = self._say(notice)
        return said.subject if notice.read_at else format_html("<strong>{}</strong>", said.subject)

    @admin.display(description="weight")
    def severity(self, notice: Notice) -> str:
        return self._say(notice).severity_label

    @admin.display(description="says")
    def text(self, notice: Notice) -> str:
        said = self._say(notice)
        return format_html('{} <a href="{}">Open</a>', said.text, said.path)

    @admin.action(description="Mark as read")
    def mark_read(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """The chosen ones, in one operation."""
        ids = [notice.id for notice in queryset]
        try:
            self.run(request, PLATFORM, lambda actor: notices.mark_read(actor=actor, notice_ids=ids))
        except ANSWERABLE as error:
            self.message_user(request, error.detail)
        else:
            self.message_user(request, "Marked as read.")

    def _say(self, notice: Notice) -> kinds.Said:
        return kinds.say(notice.kind, notice.facts, slug="")


class MailStateFilter(WordFilter):
    """By what became of it."""

    title = "state"
    parameter_name = "state"
    words: ClassVar[list[tuple[str, str]]] = [(state.value, state.label) for state in Mail.State]


@admin.register(Mail)
class MailAdmin(TenantNamed, LongList, StaffAdmin):
    """Newest first. One that is not confirmed is sent again only when staff retry its job."""

    list_display = ("tenant_word", "kind", "recipient_kind", "state", "last_error", "created_at", "sent_at")
    list_filter = (TenantFilter, MailStateFilter)
    ordering = NEWEST
    fields = readonly_fields = (
        *("tenant_word", "kind", "recipient_kind", "recipient", "is_digest", "state", "last_error"),
        *("created_at", "claimed_at", "sent_at"),
    )

    @admin.display(description="recipient")
    def recipient(self, mail: Mail) -> str:
        word = "consumer" if mail.recipient_kind == RecipientKind.CONSUMER else "person"
        return f"{word} {mail.recipient_id}"
