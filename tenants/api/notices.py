"""The API door of notices: a workload's own inbox. A token never sees or settles what was said to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.changing import parse
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, PAGING, WRITES, describe, page_of
from tenants import notices as kinds
from tenants.models import Notice
from tenants.services import notices

if TYPE_CHECKING:
    from rest_framework.request import Request

MOST = 200


class NoticeBody(serializers.ModelSerializer[Notice]):
    """One thing that was said to the caller, in words and as facts. `mailed`: it went to the contact address too."""

    severity = serializers.SerializerMethodField()
    subject = serializers.SerializerMethodField()
    text = serializers.SerializerMethodField()
    facts = serializers.DictField(child=serializers.CharField())
    mailed = serializers.SerializerMethodField()

    class Meta:
        model = Notice
        fields = [
            *("id", "kind", "severity", "subject", "text", "facts"),
            *("subject_kind", "subject_id", "mailed", "created_at", "read_at"),
        ]

    def get_severity(self, notice: Notice) -> str:
        return kinds.get_kind(notice.kind).severity.name.lower()

    def get_subject(self, notice: Notice) -> str:
        return kinds.say(notice.kind, notice.facts, slug="-").subject

    def get_text(self, notice: Notice) -> str:
        return kinds.say(notice.kind, notice.facts, slug="-").text

    def get_mailed(self, notice: Notice) -> bool:
        return notice.mail_id is not None


class MarkReadBody(serializers.Serializer[Any]):
    """Which of the caller's notices it has read; all of them when the list is left out."""

    notices = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=MOST, required=False)


class ReadBody(serializers.Serializer[Any]):
    """How many were not read before."""

    read = serializers.IntegerField()


class Notices(PortalView):
    """What was said to the calling consumer, newest first."""

    reads = Permission.NOTICE_READ

    @describe("notices_list", answer=page_of(NoticeBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, notices.list_inbox(self.actor.id), NoticeBody)


class NoticesRead(PortalView):
    """Mark the calling consumer's notices as read."""

    @describe("notices_read", request=MarkReadBody, answer=ReadBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str) -> Response:
        def mark() -> Response:
            ids = parse(MarkReadBody, request).get("notices")
            return Response({"read": notices.mark_read(actor=self.actor, notice_ids=ids)})

        return self.once(mark)
