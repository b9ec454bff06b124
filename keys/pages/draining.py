"""What a person does with the old version of a rotation: end it, bring it back, or switch it off for a rehearsal."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.forms import Form
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.asking import AskingPage
from byok_portal.ui.wording import word_distance
from keys import selectors, usage
from keys.pages import changes
from keys.pages.forms import BrownoutForm, FinishForm, ReasonNoteForm
from keys.services import draining
from keys.usage import Standing

if TYPE_CHECKING:
    from django.http import QueryDict

    from keys.models import KeyVersion

_STANDINGS = {
    Standing.STILL: gettext_lazy("still uses it, last %(when)s"),
    Standing.SILENT: gettext_lazy("has not called since, last %(when)s"),
    Standing.MOVED: gettext_lazy("has moved on, last %(when)s"),
}


def list_standings(version: KeyVersion) -> list[dict[str, str]]:
    """Who used the version and where each is now, as `keys/confirm.html` lists them."""
    now = timezone.now()
    return [
        {
            "name": user.name,
            "kind": str(_STANDINGS[user.standing]) % {"when": word_distance(user.last_at, now)},
            "note": "",
            "standing": user.standing.value,
        }
        for user in usage.list_users(version)
    ]


class DrainPage(changes.KeyPage, AskingPage["KeyVersion"]):
    """Base of the changes of a draining version: says where each of its consumers is."""

    def find(self, **where: Any) -> KeyVersion:
        key = self.load(where["key"])
        # Small enough for the column, whatever the address says.
        with binding.reading():
            version = selectors.list_versions(key.id).filter(number=min(where["number"], 2**31 - 1)).first()
        if version is None:
            raise errors.NotFound
        version.key = key
        return version

    def words(self, thing: KeyVersion) -> dict[str, Any]:
        return {"number": thing.number, "name": thing.key.name}

    def back(self, thing: KeyVersion) -> str:
        return self.url_of(thing.key)

    def trail(self, thing: Any, last: str) -> list[tuple[str, str]]:
        return super().trail(thing.key, last)

    def affected(self, thing: KeyVersion) -> list[dict[str, str]]:
        return list_standings(thing)

    def lede(self, thing: KeyVersion) -> str:
        still = sum(each["standing"] == Standing.STILL for each in list_standings(thing))
        lede = ngettext("%(n)d consumer still uses it.", "%(n)d consumers still use it.", still) % {"n": still}
        return lede if still else _("No consumer that calls still uses it.")


class FinishPage(DrainPage):
    """Ends the draining version now."""

    operation: ClassVar[str] = "key.finish_rotation"
    danger: ClassVar[bool] = True
    verb: ClassVar[Any] = gettext_lazy("End version %(number)s")
    title: ClassVar[Any] = gettext_lazy("End version %(number)s of %(name)s")
    done: ClassVar[Any] = gettext_lazy("Version %(number)s is revoked here. Its row says what the provider confirms.")

    def form_for(self, thing: KeyVersion, data: QueryDict | None = None) -> Form:
        in_use = any(user.standing is Standing.STILL for user in usage.list_users(thing))
        return FinishForm(data) if in_use else Form(data)

    def call(self, thing: KeyVersion, form: Form) -> object:
        values = {"force": form.cleaned_data.get("force", False), "note": form.cleaned_data.get("note", "")}
        return draining.finish(actor=self.actor, key_id=thing.key_id, number=thing.number, **values)

    def effects(self, thing: KeyVersion) -> list[tuple[str, str]]:
        names = {"number": thing.number, "provider": thing.key.provider.name}
        return [
            ("danger", _("Version %(number)s is refused from now on.") % names),
            ("", _("%(provider)s is asked to end it; its row says what was confirmed.") % names),
            ("ok", _("The current version keeps working.")),
        ]


class RollBackPage(DrainPage):
    """Makes the old version current again."""

    operation: ClassVar[str] = "key.roll_back"
    danger: ClassVar[bool] = True
    verb: ClassVar[Any] = gettext_lazy("Roll back to version %(number)s")
    title: ClassVar[Any] = gettext_lazy("Roll %(name)s back to version %(number)s")
    done: ClassVar[Any] = gettext_lazy("Version %(number)s of %(name)s is current again.")

    def form_for(self, thing: KeyVersion, data: QueryDict | None = None) -> Form:  # the base's signature
        return ReasonNoteForm(data)

    def call(self, thing: KeyVersion, form: Form) -> object:
        return draining.roll_back(
            actor=self.actor, key_id=thing.key_id, number=thing.number, note=form.cleaned_data["note"]
        )

    def effects(self, thing: KeyVersion) -> list[tuple[str, str]]:
        current = selectors.find_current(thing.key_id)
        names = {
            "number": thing.number,
            "current": current.number if current else "-",
            "provider": thing.key.provider.name,
        }
        return [
            ("ok", _("Version %(number)s is what consumers get from now on.") % names),
            ("danger", _("Version %(current)s is refused at once, and %(provider)s is asked to end it.") % names),
            ("", _("The rotation is still due: the old version's age counts from its first day.")),
        ]


class BrownoutPage(DrainPage):
    """Switches the old version off for some minutes."""

    operation: ClassVar[str] = "key.brownout"
    verb: ClassVar[Any] = gettext_lazy("Switch version %(number)s off for a while")
    title: ClassVar[Any] = gettext_lazy("Rehearse the end of version %(number)s of %(name)s")
    done: ClassVar[Any] = gettext_lazy(
        "The brownout of version %(number)s is set. The key's page names whom it refuses."
    )

    def form_for(self, thing: KeyVersion, data: QueryDict | None = None) -> Form:  # the base's signature
        return BrownoutForm(data)

    def call(self, thing: KeyVersion, form: Form) -> object:
        values = form.cleaned_data
        starts_at = timezone.now() + timedelta(minutes=values["delay"])
        return draining.brownout(
            actor=self.actor, key_id=thing.key_id, number=thing.number, minutes=values["minutes"], starts_at=starts_at
        )

    def effects(self, thing: KeyVersion) -> list[tuple[str, str]]:  # the base's signature
        number = {"number": thing.number}
        return [
            ("danger", _("Uses that ask for version %(number)s are refused during these minutes.") % number),
            ("ok", _("Then it serves again by itself, with no job having to run.")),
            ("", _("A consumer that keeps a leased secret is not noticed: only calls through the portal are.")),
        ]


class EndBrownoutPage(DrainPage):
    """Serves the version again, or calls a planned brownout off."""

    operation: ClassVar[str] = "key.end_brownout"
    verb: ClassVar[Any] = gettext_lazy("End the brownout of version %(number)s")
    title: ClassVar[Any] = gettext_lazy("End the brownout of version %(number)s of %(name)s")
    done: ClassVar[Any] = gettext_lazy("Version %(number)s serves again.")

    def form_for(self, thing: KeyVersion, data: QueryDict | None = None) -> Form:  # the base's signature
        return Form(data)

    def call(self, thing: KeyVersion, form: Form) -> object:  # the base's signature
        return draining.end_brownout(actor=self.actor, key_id=thing.key_id, number=thing.number)

    def effects(self, thing: KeyVersion) -> list[tuple[str, str]]:  # the base's signature
        return [("ok", _("Version %(number)s is served again until its drain ends.") % {"number": thing.number})]
