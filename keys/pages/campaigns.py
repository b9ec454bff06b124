"""Recertification as owners of the tenant see it: campaigns with their progress, starting, closing, calling off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary import binding
from byok_portal.boundary.keyset import take_page
from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from keys import recertification
from keys.models import Key
from keys.pages.campaign_forms import CONSEQUENCES, SELECTIONS, StartForm
from keys.pages.forms import NoteForm, ReasonNoteForm
from keys.services import campaigns
from keys.states import CampaignState, ItemState

if TYPE_CHECKING:
    from uuid import UUID

    from django.forms import Form
    from django.http import HttpRequest, HttpResponse

    from keys.models import Campaign, CampaignItem
    from keys.recertification import Progress

PAGE: Final = 50
ITEMS: Final = 500
STATES: Final = {
    CampaignState.OPEN: ("running", gettext_lazy("Open")),
    CampaignState.CLOSED: ("done", gettext_lazy("Closed")),
    CampaignState.CANCELLED: ("revoked", gettext_lazy("Called off")),
}
ANSWERS: Final = {
    ItemState.WAITING: ("queued", gettext_lazy("No answer yet")),
    ItemState.CONFIRMED: ("done", gettext_lazy("Confirmed")),
    ItemState.CHANGE_NEEDED: ("attention", gettext_lazy("Change needed")),
    ItemState.NOT_MINE: ("failed", gettext_lazy("Not theirs")),
}


class ListPage(TenantPage):
    """Campaigns, newest first."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "campaigns"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Each with its progress, and what the person has to answer."""
        slug = self.place.slug
        page = take_page(recertification.list_campaigns(), request.GET, size=PAGE)
        progress = recertification.progress_of([row.id for row in page.rows])
        may_start = self.permits(Permission.CAMPAIGN_RUN) and self.place.state == "active"
        may_answer = self.permits(Permission.KEY_CONFIRM)
        context = {
            "crumbs": [(_("Recertification"), "")],
            "rows": [describe(row, progress[row.id], slug) for row in page.rows],
            "start_url": reverse("keys:campaign-start", args=[slug]) if may_start else "",
            "mine_url": reverse("keys:my-keys", args=[slug]) if may_answer else "",
            "mine": recertification.list_asked(self.actor.id).count() if may_answer else 0,
            "pager": {"label": _("Newest first"), **page.urls},
        }
        return self.render("keys/campaigns.html", context)


class CampaignPage(TenantPage):
    """One campaign, key by key."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "campaigns"

    def get(self, request: HttpRequest, campaign: UUID) -> HttpResponse:  # Django's signature
        """Who has answered what, those without an answer first."""
        found, slug = campaigns.get(campaign), self.place.slug
        order = list(ANSWERS)
        items = sorted(
            recertification.list_items(found.id)[:ITEMS], key=lambda item: order.index(ItemState(item.state))
        )
        is_open = found.state == CampaignState.OPEN and self.permits(Permission.CAMPAIGN_RUN)
        progress = recertification.progress_of([found.id])[found.id]
        is_over = timezone.now().date() > found.due_on or progress.confirmed == progress.total
        context = {
            "crumbs": [(_("Recertification"), reverse("keys:campaigns", args=[slug])), (found.name, "")],
            "campaign": describe(found, progress, slug),
            "note": found.note,
            "items": [self._row(item) for item in items],
            "close_url": reverse("keys:campaign-close", args=[slug, found.id]) if is_open and is_over else "",
            "cancel_url": reverse("keys:campaign-cancel", args=[slug, found.id]) if is_open else "",
        }
        return self.render("keys/campaign.html", context)

    def _row(self, item: CampaignItem) -> dict[str, Any]:
        css, label = ANSWERS[ItemState(item.state)]
        key, slug = item.key, self.place.slug
        is_mine = self.actor.id in (key.owner_id, key.backup_owner_id) and item.state != ItemState.CONFIRMED
        return {
            "key": key.name,
            "url": reverse("keys:detail", args=[slug, key.slug]),
            "owner": str(key.owner),
            "backup": str(key.backup_owner or ""),
            "status": css,
            "status_label": label,
            "answered_at": item.answered_at,
            "note": item.note,
            "due_on": item.due_on,
            "is_late": item.state in recertification.UNANSWERED and item.due_at <= timezone.now(),
            "answer_url": reverse("keys:recertify", args=[slug, key.slug]) if is_mine else "",
        }


class StartPage(OperationPage):
    """Asks the owners of chosen keys."""

    operation: ClassVar[str] = "campaign.start"
    section: ClassVar[str] = "campaigns"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The form."""
        return self._answer(self._form(None))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Ask them, or show the form again with what was wrong."""
        with binding.reading():
            form = self._form(request.POST)
        if not form.is_valid():
            return self._answer(form, status=422)
        done = self.attempt(form, lambda: campaigns.start(actor=self.actor, **form.values))
        if done is None:
            return self._answer(form, status=self.status)
        messages.success(request, _("The owners are asked. They find the question in their inbox and by mail."))
        return redirect(reverse("keys:campaign", args=[self.place.slug, done.id]))

    def _form(self, data: Any) -> StartForm:
        with binding.reading():
            used = Key.objects.values_list("provider__slug", "provider__name").order_by("provider__name").distinct()
            return StartForm(data, providers=list(used))

    def _answer(self, form: Form, *, status: int = 200) -> HttpResponse:
        back = reverse("keys:campaigns", args=[self.place.slug])
        context = {
            "crumbs": [(_("Recertification"), back), (_("Start"), "")],
            "title": _("Start a campaign"),
            "lede": _("Owners look at each of their keys and say whether it is still right."),
            "effects": [
                {"level": "", "text": _("Owner and backup owner of each chosen key are told; either may answer.")},
                {
                    "level": "",
                    "text": _("They are reminded before the day; after it tenant owners hear, then staff."),
                },
                {
                    "level": "danger",
                    "text": _("What follows without an answer holds from the day after, whether or not a job runs."),
                },
            ],
            "form": form,
            "submit_label": _("Ask the owners"),
            "cancel_url": back,
        }
        return self.render("keys/confirm.html", context, status=status)


class EndPage(OperationPage):
    """Base of the two ends of a campaign."""

    section: ClassVar[str] = "campaigns"
    verb: ClassVar[Any]
    form: ClassVar[type[Form]]

    def get(self, request: HttpRequest, campaign: UUID) -> HttpResponse:  # Django's signature
        """What will happen."""
        return self._answer(self._load(campaign), self.form())

    def post(self, request: HttpRequest, campaign: UUID) -> HttpResponse:
        """End it, or say why not."""
        found, form = self._load(campaign), self.form(request.POST)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        if self.attempt(form, lambda: self.call(found, form)) is None:
            return self._answer(found, form, status=self.status)
        messages.success(request, _("The campaign has ended."))
        return redirect(reverse("keys:campaign", args=[self.place.slug, found.id]))

    def call(self, campaign: Campaign, form: Form) -> object:
        """The operation."""
        raise NotImplementedError

    def effects(self) -> list[tuple[str, str]]:
        """(level, text) of what will happen."""
        raise NotImplementedError

    def _load(self, campaign_id: UUID) -> Campaign:
        with binding.reading():
            return campaigns.get(campaign_id)

    def _answer(self, campaign: Campaign, form: Form, *, status: int = 200) -> HttpResponse:
        slug = self.place.slug
        back = reverse("keys:campaign", args=[slug, campaign.id])
        context = {
            "crumbs": [
                (_("Recertification"), reverse("keys:campaigns", args=[slug])),
                (campaign.name, back),
                (str(self.verb), ""),
            ],
            "title": f"{self.verb}: {campaign.name}",
            "effects": [{"level": level, "text": text} for level, text in self.effects()],
            "form": form,
            "submit_label": self.verb,
            "cancel_url": back,
        }
        return self.render("keys/confirm.html", context, status=status)


class ClosePage(EndPage):
    """Ends a campaign whose day is over."""

    operation: ClassVar[str] = "campaign.close"
    verb: ClassVar[Any] = gettext_lazy("Close")
    form: ClassVar[type[Form]] = NoteForm

    def call(self, campaign: Campaign, form: Form) -> object:
        return campaigns.close(actor=self.actor, campaign_id=campaign.id)

    def effects(self) -> list[tuple[str, str]]:
        return [
            ("", _("Owners who have not answered still can, and what followed stays until they do.")),
            ("ok", _("It counts as done on the list.")),
        ]


class CancelPage(EndPage):
    """Calls a campaign off."""

    operation: ClassVar[str] = "campaign.cancel"
    verb: ClassVar[Any] = gettext_lazy("Call off")
    form: ClassVar[type[Form]] = ReasonNoteForm

    def call(self, campaign: Campaign, form: Form) -> object:
        return campaigns.cancel(actor=self.actor, campaign_id=campaign.id, note=form.cleaned_data["note"])

    def effects(self) -> list[tuple[str, str]]:
        return [
            ("danger", _("Nobody has to answer any more, and nothing follows for keys without an answer.")),
            ("", _("A key that it has suspended stays suspended until a person resumes it.")),
            ("", _("Somebody who still has to answer in it cannot call it off.")),
        ]


def describe(campaign: Campaign, progress: Progress, slug: str) -> dict[str, Any]:
    """A campaign as the templates show it."""
    css, label = STATES[CampaignState(campaign.state)]
    value = f": {campaign.value}" if campaign.value else ""
    chosen = SELECTIONS.get(campaign.selection)
    return {
        "name": campaign.name,
        "url": reverse("keys:campaign", args=[slug, campaign.id]),
        "status": css,
        "status_label": label,
        "due_on": campaign.due_on,
        "selection": f"{chosen or _('By policy')}{value}",
        "consequence": _("As its policy says") if campaign.by_policy else CONSEQUENCES[campaign.consequence],
        "progress": progress,
        "started_at": campaign.created_at,
    }
