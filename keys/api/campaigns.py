"""The API door of recertification: starting a campaign, its progress, closing it. Owners answer in the web UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.response import Response

from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.changing import parse
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, PAGING, WRITES, describe, page_of
from keys import recertification
from keys.policies import Overdue
from keys.services import campaigns
from keys.states import CampaignState, ItemState

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request

    from keys.models import Campaign


class StartCampaignBody(serializers.Serializer[Any]):
    """Which keys (`value`: the environment or the provider), until when, and what follows without an answer."""

    name = serializers.CharField(max_length=120)
    selection = serializers.ChoiceField(choices=list(campaigns.SELECTIONS), default=campaigns.ALL)
    value = serializers.CharField(max_length=60, required=False, default="", allow_blank=True)
    due_on = serializers.DateField()
    consequence = serializers.ChoiceField(choices=[word.value for word in Overdue], default=Overdue.NOTIFY.value)
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class ProgressBody(serializers.Serializer[Any]):
    """Keys by answer; those that have ended without one are left out."""

    confirmed = serializers.IntegerField()
    change_needed = serializers.IntegerField()
    not_mine = serializers.IntegerField()
    waiting = serializers.IntegerField()


class CampaignBody(serializers.Serializer[Any]):
    """One campaign. `by_policy`: the clock started it, and the policies say what follows."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=[word.value for word in CampaignState])
    selection = serializers.ChoiceField(choices=[*campaigns.SELECTIONS, campaigns.POLICY])
    value = serializers.CharField()
    due_on = serializers.DateField()
    consequence = serializers.ChoiceField(choices=[word.value for word in Overdue])
    by_policy = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class ItemBody(serializers.Serializer[Any]):
    """What was said about one key, and by whom."""

    key = serializers.UUIDField(source="key_id")
    state = serializers.ChoiceField(choices=[word.value for word in ItemState])
    owner = serializers.UUIDField(source="key.owner_id")
    due_on = serializers.DateField()
    answered_at = serializers.DateTimeField(allow_null=True)
    answered_by = serializers.UUIDField(source="answered_by_id", allow_null=True)
    note = serializers.CharField()


class CampaignDetailBody(CampaignBody):
    """With its counts and its keys."""

    progress = ProgressBody()
    items = ItemBody(many=True)


class Campaigns(PortalView):
    """Campaigns, newest first; starting one."""

    reads = Permission.KEY_READ

    @describe("campaigns_list", answer=page_of(CampaignBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, recertification.list_campaigns(), CampaignBody)

    @describe(
        "campaign_start",
        request=StartCampaignBody,
        answer=CampaignBody,
        status=201,
        problems=WRITES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str) -> Response:
        def start() -> Response:
            made = campaigns.start(actor=self.actor, **parse(StartCampaignBody, request))
            return Response(CampaignBody(made).data, status=201)

        return self.once(start)


class CampaignDetail(PortalView):
    """One campaign, key by key."""

    reads = Permission.KEY_READ

    @describe("campaign", answer=CampaignDetailBody)
    def get(self, request: Request, tenant: str, campaign: UUID) -> Response:
        return Response(_detail(campaigns.get(campaign)))


class CampaignClose(PortalView):
    """End a campaign whose day is over."""

    @describe("campaign_close", request=None, answer=CampaignBody, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self, request: Request, tenant: str, campaign: UUID) -> Response:
        return self.once(lambda: Response(CampaignBody(campaigns.close(actor=self.actor, campaign_id=campaign)).data))


def _detail(campaign: Campaign) -> dict[str, Any]:
    progress = recertification.progress_of([campaign.id])[campaign.id]
    return {
        **CampaignBody(campaign).data,
        "progress": ProgressBody(progress).data,
        "items": ItemBody(recertification.list_items(campaign.id), many=True).data,
    }
