"""What people do about an incident: settle a task, note, move it on, change its moment, confirm or dismiss it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal import errors
from byok_portal.boundary.asking import AskingPage
from keys import selectors
from keys.pages.exposing import SinceField
from keys.pages.forms import NoteForm, ReasonNoteForm
from keys.pages.incident_words import STATES, TASK_STATES, title_of, word_task
from keys.services import incidents
from keys.states import INCIDENT_TRANSITIONS, IncidentState, TaskState

if TYPE_CHECKING:
    from django.http import QueryDict

    from keys.models import Incident, IncidentTask


class TaskForm(forms.Form):
    """What became of a task."""

    state = forms.ChoiceField(
        label=gettext_lazy("It is"),
        choices=[(each.value, TASK_STATES[each][1]) for each in (TaskState.DONE, TaskState.NOT_NEEDED)],
        initial=TaskState.DONE.value,
    )
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("Why, when it is not needed."),
    )


class LongNoteForm(forms.Form):
    """What somebody found out."""

    note = forms.CharField(label=gettext_lazy("Note"), max_length=2000, widget=forms.Textarea(attrs={"rows": 3}))


class SinceForm(forms.Form):
    """Another moment, and why."""

    suspected_since = SinceField(required=True)
    note = forms.CharField(required=False, max_length=500, label=gettext_lazy("Why"))


class MoveForm(forms.Form):
    """Where to, and why although something is left."""

    state = forms.ChoiceField(label=gettext_lazy("It becomes"))
    force = forms.BooleanField(
        required=False,
        label=gettext_lazy("End it although tasks are open"),
        help_text=gettext_lazy("They stay open in the report. Say why below."),
    )
    note = forms.CharField(
        required=False, max_length=500, label=gettext_lazy("Why"), widget=forms.Textarea(attrs={"rows": 2})
    )

    def __init__(self, incident: Incident, data: QueryDict | None = None) -> None:
        super().__init__(data)
        allowed = INCIDENT_TRANSITIONS[IncidentState(incident.state)]
        choices = [(each.value, STATES[each][1]) for each in IncidentState if each in allowed]
        self.fields["state"].choices = choices  # type: ignore[attr-defined]


class IncidentChange(AskingPage["Incident"]):
    """Base: leads back to the incident."""

    section: ClassVar[str] = "incidents"

    def find(self, **where: Any) -> Incident:
        return selectors.get_incident(where["incident"])

    def words(self, thing: Incident) -> dict[str, Any]:  # the base's signature
        return {}

    def back(self, thing: Incident) -> str:
        return reverse("keys:incident", args=[self.place.slug, thing.id])

    def lede(self, thing: Incident) -> str:
        return title_of(thing)

    def trail(self, thing: Incident, last: str) -> list[tuple[str, str]]:
        return [
            (_("Incidents"), reverse("keys:incidents", args=[self.place.slug])),
            (title_of(thing), self.back(thing)),
            (last, ""),
        ]


class TaskPage(IncidentChange):
    """Settles one task; its button on the incident's page sends the whole answer."""

    operation: ClassVar[str] = "incident.task_settle"
    verb: ClassVar[Any] = gettext_lazy("Settle a task")
    done: ClassVar[Any] = gettext_lazy("The task is settled.")
    task: IncidentTask

    def find(self, **where: Any) -> Incident:
        found = super().find(**where)
        task = found.tasks.filter(id=where["task"]).first()
        if task is None:
            raise errors.NotFound
        self.task = task
        return found

    def form_for(self, thing: Incident, data: QueryDict | None = None) -> forms.Form:  # the base's signature
        return TaskForm(data)

    def call(self, thing: Incident, form: forms.Form) -> object:
        return incidents.settle_task(actor=self.actor, incident_id=thing.id, task_id=self.task.id, **form.cleaned_data)

    def lede(self, thing: Incident) -> str:
        return word_task(self.task, thing, thing.key.provider.name)

    def effects(self, thing: Incident) -> list[tuple[str, str]]:  # the base's signature
        return [("", _("A settled task stays settled; your note stands beside it and in the log's private side."))]


class NotePage(IncidentChange):
    """Keeps what somebody found out."""

    operation: ClassVar[str] = "incident.note"
    verb: ClassVar[Any] = gettext_lazy("Add a note")
    done: ClassVar[Any] = gettext_lazy("The note is kept. It shows in the timeline as soon as it is numbered.")

    def form_for(self, thing: Incident, data: QueryDict | None = None) -> forms.Form:  # the base's signature
        return LongNoteForm(data)

    def call(self, thing: Incident, form: forms.Form) -> object:
        return incidents.add_note(actor=self.actor, incident_id=thing.id, note=form.cleaned_data["note"])

    def effects(self, thing: Incident) -> list[tuple[str, str]]:  # the base's signature
        return [("", _("It is read by whoever may read the audit log, can be erased, and is not in the report."))]


class MovePage(IncidentChange):
    """Takes the incident to another state."""

    operation: ClassVar[str] = "incident.move"
    verb: ClassVar[Any] = gettext_lazy("Move the incident on")
    done: ClassVar[Any] = gettext_lazy("The incident has moved on.")

    def form_for(self, thing: Incident, data: QueryDict | None = None) -> forms.Form:
        return MoveForm(thing, data)

    def call(self, thing: Incident, form: forms.Form) -> object:
        return incidents.move(actor=self.actor, incident_id=thing.id, **form.cleaned_data)

    def effects(self, thing: Incident) -> list[tuple[str, str]]:
        left = thing.tasks.filter(state=TaskState.OPEN).count()
        tasks = _("Open tasks: %(n)s. Resolving or closing waits for them.") % {"n": left}
        return [
            ("", tasks) if left else ("ok", _("Every task is settled.")),
            ("", _("What is closed stays closed; what is resolved can be taken up again.")),
        ]


class SincePage(IncidentChange):
    """Looks at uses from another moment on."""

    operation: ClassVar[str] = "incident.change_since"
    verb: ClassVar[Any] = gettext_lazy("Change the suspected moment")
    done: ClassVar[Any] = gettext_lazy("The blast radius is counted from that moment on.")

    def form_for(self, thing: Incident, data: QueryDict | None = None) -> forms.Form:
        return SinceForm(data, initial={"suspected_since": thing.suspected_since})

    def call(self, thing: Incident, form: forms.Form) -> object:
        return incidents.change_since(actor=self.actor, incident_id=thing.id, **form.cleaned_data)

    def effects(self, thing: Incident) -> list[tuple[str, str]]:  # the base's signature
        return [("", _("Uses and consumers from then on are shown; consumers that this brings in get a task."))]


class ConfirmPage(IncidentChange):
    """Marks the versions that were rotated away as compromised."""

    operation: ClassVar[str] = "incident.confirm"
    danger: ClassVar[bool] = True
    verb: ClassVar[Any] = gettext_lazy("Confirm the exposure")
    done: ClassVar[Any] = gettext_lazy("The exposure is confirmed. These versions never come back.")

    def form_for(self, thing: Incident, data: QueryDict | None = None) -> forms.Form:  # the base's signature
        return NoteForm(data)

    def call(self, thing: Incident, form: forms.Form) -> object:
        return incidents.confirm(actor=self.actor, incident_id=thing.id, note=form.cleaned_data["note"])

    def effects(self, thing: Incident) -> list[tuple[str, str]]:
        numbers = {"numbers": ", ".join(map(str, thing.versions)), "provider": thing.key.provider.name}
        return [
            ("danger", _("Versions %(numbers)s are compromised and can never be used or registered again.") % numbers),
            ("", _("%(provider)s is asked to end them; the task closes itself when that is confirmed.") % numbers),
            ("ok", _("The key keeps its present version.")),
        ]


class DismissPage(IncidentChange):
    """Closes a suspicion and ends its quarantine."""

    operation: ClassVar[str] = "incident.dismiss"
    verb: ClassVar[Any] = gettext_lazy("Close as a false alarm")
    done: ClassVar[Any] = gettext_lazy("Closed as a false alarm. The key's page says whether it is active again.")

    def form_for(self, thing: Incident, data: QueryDict | None = None) -> forms.Form:  # the base's signature
        return ReasonNoteForm(data)

    def call(self, thing: Incident, form: forms.Form) -> object:
        return incidents.dismiss(actor=self.actor, incident_id=thing.id, note=form.cleaned_data["note"])

    def effects(self, thing: Incident) -> list[tuple[str, str]]:
        comes_back = _("The key is active again, with its grants and the credential that it had.")
        stays = _("The key stays as it is: what suspended it, or another credential in its place, is left alone.")
        return [
            ("ok", comes_back) if thing.was_active else ("", stays),
            ("", _("Its open tasks are not needed any more, and those who were told of the quarantine hear of this.")),
        ]
