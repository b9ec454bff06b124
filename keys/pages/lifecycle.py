"""The pages that prove, activate, suspend, resume, revoke or withdraw a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.forms import Form
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from keys import selectors
from keys.pages.changes import ChangePage
from keys.pages.forms import ActivateForm, EndKeyForm, ExcessForm, NoteForm
from keys.pages.presentation import comparison_of
from keys.services import lifecycle, registration
from keys.services.catalogue import entry_of
from keys.states import RevocationReason

if TYPE_CHECKING:
    from django.http import QueryDict

    from keys.models import Key

_ENDED: Final = [reason for reason in RevocationReason if reason != RevocationReason.HOLD]


class ActivatePage(ChangePage):
    """Shows what was proven against what was chosen, and asks to accept the difference."""

    operation: ClassVar[str] = "key.activate"
    verb: ClassVar[Any] = gettext_lazy("Activate")
    done: ClassVar[Any] = gettext_lazy("%(name)s is active. Grant it to a consumer next.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:
        proof = selectors.find_proof(key.id)
        return ExcessForm(data) if proof is not None and proof.excess else ActivateForm(data)

    def call(self, key: Key, form: Form) -> object:
        values = form.cleaned_data
        return lifecycle.activate(
            actor=self.actor,
            key_id=key.id,
            accept_excess=values.get("accept_excess", False),
            note=values["note"],
        )

    def effects(self, key: Key) -> list[tuple[str, str]]:
        account = {"account": key.account_label or key.account_id}
        return [
            ("ok", _("The key becomes usable for the upstream account %(account)s.") % account),
            ("", _("Nobody can use it before a consumer has a grant.")),
        ]

    def more(self, key: Key) -> dict[str, Any]:
        proof = selectors.find_proof(key.id)
        if proof is None:
            return {}
        return {
            "comparison": comparison_of(proof, key.scopes, entry_of(key.provider)),
            "proof_at": proof.created_at,
        }


class ProvePage(ChangePage):
    """Asks the provider again."""

    operation: ClassVar[str] = "key.prove"
    verb: ClassVar[Any] = gettext_lazy("Prove control of")
    button: ClassVar[Any] = gettext_lazy("Prove now")
    done: ClassVar[Any] = gettext_lazy("%(name)s was proven again.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:  # the base's signature
        return Form(data)

    def call(self, key: Key, form: Form) -> object:  # the base's signature
        return registration.prove(actor=self.actor, key_id=key.id)

    def effects(self, key: Key) -> list[tuple[str, str]]:
        name = {"provider": key.provider.name}
        return [
            ("", _("%(provider)s is asked once, read-only, with the sealed credential.") % name),
            ("ok", _("A failed proof changes nothing: the key stays as it is.")),
        ]


class SuspendPage(ChangePage):
    """Stops uses for a while."""

    operation: ClassVar[str] = "key.suspend"
    verb: ClassVar[Any] = gettext_lazy("Suspend")
    done: ClassVar[Any] = gettext_lazy("%(name)s is suspended. Every use is refused from now on.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:  # the base's signature
        return NoteForm(data)

    def call(self, key: Key, form: Form) -> object:
        return lifecycle.suspend(actor=self.actor, key_id=key.id, note=form.cleaned_data["note"])

    def effects(self, key: Key) -> list[tuple[str, str]]:
        name = {"provider": key.provider.name}
        return [
            ("danger", _("Uses that start after this are refused, on every process.")),
            ("", _("A lease that was handed out before keeps working at %(provider)s until it ends.") % name),
            ("ok", _("Nothing is lost: resuming brings the key and its grants back.")),
        ]


class ResumePage(ChangePage):
    """Allows uses again."""

    operation: ClassVar[str] = "key.resume"
    verb: ClassVar[Any] = gettext_lazy("Resume")
    done: ClassVar[Any] = gettext_lazy("%(name)s is active again.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:  # the base's signature
        return NoteForm(data)

    def call(self, key: Key, form: Form) -> object:
        return lifecycle.resume(actor=self.actor, key_id=key.id, note=form.cleaned_data["note"])

    def effects(self, key: Key) -> list[tuple[str, str]]:  # the base's signature
        return [("", _("Consumers with a live grant can use the key again, at once."))]


class RevokePage(ChangePage):
    """Ends a key for good."""

    operation: ClassVar[str] = "key.revoke"
    danger: ClassVar[bool] = True
    verb: ClassVar[Any] = gettext_lazy("Revoke")
    done: ClassVar[Any] = gettext_lazy("%(name)s is revoked here. The versions below say what the provider confirms.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:
        return EndKeyForm(key.name, data, words=_ENDED)

    def call(self, key: Key, form: Form) -> object:
        reason, note = form.cleaned_data["reason"], form.cleaned_data["note"]
        return lifecycle.revoke(actor=self.actor, key_id=key.id, reason=reason, note=note)

    def effects(self, key: Key) -> list[tuple[str, str]]:
        return [
            ("danger", _("Uses that start after this are refused, on every process. This cannot be undone.")),
            ("danger", _("Every grant on the key ends.")),
            (
                "",
                _("At %(provider)s: %(note)s")
                % {"provider": key.provider.name, "note": entry_of(key.provider).revoke_note},
            ),
            ("ok", _("The audit history stays.")),
        ]


class WithdrawPage(ChangePage):
    """Takes back a key that was never active."""

    operation: ClassVar[str] = "key.withdraw"
    danger: ClassVar[bool] = True
    verb: ClassVar[Any] = gettext_lazy("Withdraw")
    done: ClassVar[Any] = gettext_lazy("%(name)s is withdrawn; its credential is destroyed here.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:  # the base's signature
        return Form(data)

    def call(self, key: Key, form: Form) -> object:  # the base's signature
        return registration.withdraw(actor=self.actor, key_id=key.id)

    def effects(self, key: Key) -> list[tuple[str, str]]:
        name = {"provider": key.provider.name}
        return [
            ("danger", _("The sealed credential is destroyed here.")),
            ("", _("It stays alive at %(provider)s: end it there, or register it again.") % name),
        ]
