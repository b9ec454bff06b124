"""The pages that erase personal data beside entries: choose whose, see what goes and what stays, confirm by typing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from audit import labels
from audit.services import erasure
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.pages import OperationPage
from byok_portal.errors import NotFound

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse, QueryDict

REASONS: Final = [
    ("", gettext_lazy("Choose a reason")),
    ("requested_by_person", gettext_lazy("The person asked for it")),
    ("recorded_by_mistake", gettext_lazy("It was recorded by mistake")),
    ("no_longer_needed", gettext_lazy("It is no longer needed")),
]


def erase_url(slug: str, kind: str, subject_id: UUID) -> str:
    """The page that asks before erasing this subject's data."""
    return f"{reverse('audit:erase', args=[slug])}?{urlencode({'kind': kind, 'id': str(subject_id)})}"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose data: `name` as the record's readers know it, which is also what is typed to confirm."""

    kind: str
    id: UUID
    name: str
    preview: erasure.Preview


class EraseForm(forms.Form):
    """Why, and the typed confirmation."""

    reason = forms.ChoiceField(label=gettext_lazy("Reason"), choices=REASONS)
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=erasure.NOTE_MAX,
        widget=forms.Textarea,
        help_text=gettext_lazy("Kept sealed beside the entry that records this erasure."),
    )
    confirm_name = forms.CharField(max_length=200)

    def __init__(self, subject: Subject, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.name = subject.name
        label = (
            _("Type the number of the entry to confirm") if subject.kind == "event" else _("Type the name to confirm")
        )
        self.fields["confirm_name"].label = label
        self.fields["confirm_name"].help_text = subject.name

    def clean_confirm_name(self) -> str:
        """Raises ValidationError for anything else."""
        if " ".join(self.cleaned_data["confirm_name"].split()) != self.name:
            raise forms.ValidationError(_("This is not what is to be typed."), code="not_confirmed")
        return self.name


class ErasePage(OperationPage):
    """Without `kind` and `id` in its address it asks whose data; with them it asks to confirm."""

    operation: ClassVar[str] = "audit.erase_personal_data"
    section: ClassVar[str] = "audit"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """Whose data, or what will go and what stays."""
        if not request.GET.get("id"):
            return self._choose()
        subject = self._find(request.GET)
        return self._choose(request.GET) if subject is None else self._ask(subject, EraseForm(subject))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Erase, then show the entry that records it."""
        with binding.reading():
            subject = self._find(request.GET)
            if subject is None:
                return self._choose(request.GET)
        form = EraseForm(subject, request.POST)
        if not form.is_valid():
            return self._ask(subject, form, status=422)
        done = self.attempt(form, lambda: self._erase(subject, form))
        if done is None:
            return self._ask(subject, form, status=self.status)
        messages.success(request, _said(done))
        if done.waiting:
            messages.warning(request, _left(done))
        return redirect("audit:detail", self.place.slug, done.audit_id)

    def _erase(self, subject: Subject, form: EraseForm) -> erasure.Erasure:
        values = form.cleaned_data
        return erasure.erase(
            actor=self.actor, kind=subject.kind, subject_id=subject.id, reason=values["reason"], note=values["note"]
        )

    def _find(self, query: QueryDict) -> Subject | None:
        """None where the record of this tenant knows no such subject: a name is shown of those only that it knows."""
        kind, subject_id = query.get("kind", ""), parse_id(query.get("id", "").strip())
        if kind not in erasure.KINDS or subject_id is None:
            return None
        try:
            found = erasure.preview(kind=kind, subject_id=subject_id)
        except NotFound:
            return None
        if kind == "event":
            entry = erasure.find_event(subject_id)
            return Subject(kind, subject_id, str(entry.tseq) if entry else str(subject_id), found)
        if not found.entries:
            return None
        name = labels.find_labels([(kind, subject_id)]).get((kind, subject_id), "")
        return Subject(kind, subject_id, " ".join(name.split()) or str(subject_id), found)

    def _choose(self, query: QueryDict | None = None) -> HttpResponse:
        context = {
            "crumbs": self._crumbs(),
            "person_options": labels.list_choices("person"),
            "consumer_options": labels.list_choices("consumer"),
            "kind": query.get("kind", "") if query else "",
            "id": query.get("id", "") if query else "",
            "errors": [] if query is None else [_("Nothing in the record of this tenant has this id.")],
        }
        return self.render("audit/erase.html", context, status=200 if query is None else 422)

    def _ask(self, subject: Subject, form: EraseForm, *, status: int = 200) -> HttpResponse:
        is_event = subject.kind == erasure.EVENT
        title = _("Erase the personal data beside entry %(name)s") if is_event else _("Erase personal data of %(name)s")
        context = {
            "crumbs": self._crumbs(),
            "title": title % {"name": subject.name},
            "lede": _lede(subject),
            "danger": True,
            "effects": [{"level": level, "text": text} for level, text in _effects(subject)],
            "form": form,
            "submit_label": _("Erase"),
            "cancel_url": self._back(subject),
        }
        return self.render("keys/confirm.html", context, status=status)

    def _back(self, subject: Subject) -> str:
        if subject.kind == "event":
            return reverse("audit:detail", args=[self.place.slug, subject.id])
        return reverse("audit:erase", args=[self.place.slug])

    def _crumbs(self) -> list[tuple[str, str]]:
        return [(_("Audit log"), reverse("audit:list", args=[self.place.slug])), (_("Erase personal data"), "")]


def _lede(subject: Subject) -> str:
    preview = subject.preview
    if not preview.count:
        return _("No personal data is kept here any more: erasing finds nothing, and is recorded all the same.")
    if subject.kind == "event":
        return _("Personal data is kept beside this entry.")
    if preview.is_more:
        return _("Personal data is kept beside more than %(count)s entries.") % {"count": preview.count}
    text = ngettext(
        "Personal data is kept beside %(count)s entry.",
        "Personal data is kept beside %(count)s entries.",
        preview.count,
    )
    return text % {"count": preview.count}


def _effects(subject: Subject) -> list[tuple[str, str]]:
    effects = [
        (
            "danger",
            _("Goes: names, e-mail and network addresses, user agents, purposes and notes. Nobody can undo it."),
        ),
        ("", _("Stays: action, outcome, time, ids of who and what, and the salted hash of what was erased.")),
        ("ok", _("Every number, link and proof stays as it is: exports and receipts verify as before.")),
        ("", _("Copies stay in lists that were saved as CSV before, and in backups until they expire.")),
        ("", _("An entry of its own records this erasure, with your name and your reason.")),
    ]
    if subject.kind != "event":
        account = _(
            "The account or consumer itself stays: end it on its own page. What it does later is recorded anew."
        )
        moments = _(
            "Everything that has a number is found by id. Events of the last moments, without a number yet, are found "
            "by the name of who acted; the answer says how many of them could not be told."
        )
        effects[4:4] = [("", account), ("", moments)]
    return effects


def _said(done: erasure.Erasure) -> str:
    text = ngettext(
        "The personal data beside %(count)s event was erased. Audit-Id: %(id)s",
        "The personal data beside %(count)s events was erased. Audit-Id: %(id)s",
        done.count,
    )
    return text % {"count": done.count, "id": done.audit_id}


def _left(done: erasure.Erasure) -> str:
    text = ngettext(
        "%(count)s event had no number yet and could not be told to be theirs: erase again in a few seconds.",
        "%(count)s events had no number yet and could not be told to be theirs: erase again in a few seconds.",
        done.waiting,
    )
    return text % {"count": done.waiting}
