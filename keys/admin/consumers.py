"""Ending a consumer ends its grants, so this app adds it to the consumers of the staff door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.urls import path

from byok_portal.boundary.staff import bind_form
from keys.models import Grant, Key
from keys.models.words import choices_of
from keys.services import leaving
from keys.states import GrantState, KeyState, RevocationReason
from tenants.admin.consumers import ConsumerAdmin
from tenants.models import Consumer

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

admin.site.unregister(Consumer)


class EndForm(forms.Form):
    """Why it ends."""

    reason = forms.ChoiceField(choices=choices_of(RevocationReason))


@admin.register(Consumer)
class EndableConsumerAdmin(ConsumerAdmin):
    """Consumers with their end."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.end_view)
        return [path("<path:object_id>/end/", view, name="tenants_consumer_end"), *super().get_urls()]

    def list_tools(self, consumer: Consumer) -> list[dict[str, Any]]:
        tools = super().list_tools(consumer)
        if tools:
            tools.append({"label": "End this consumer", "url": self.url("end", consumer.pk), "danger": True})
        return tools

    def end_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Its tokens and its grants on every key end at once."""
        consumer = self.require(request, object_id)
        live = Grant.objects.filter(consumer_id=consumer.id, state=GrantState.ACTIVE).count()

        def perform(values: dict[str, Any]) -> HttpResponse:
            self.run(
                request,
                consumer.tenant_id,
                lambda actor: leaving.end_consumer(actor=actor, consumer_id=consumer.id, **values),
            )
            return self.done(request, consumer, "Ended.")

        form = bind_form(request, EndForm, reason=RevocationReason.CESSATION_OF_OPERATION.value)
        says = f"All its tokens stop working and {live} live grants end, at once. It cannot be undone."
        context = {"says": says, "danger": True, "obj": consumer}
        return self.serve(
            request, form, title=f"End {consumer}?", submit="End this consumer", perform=perform, **context
        )

    def sample(self, consumer: Consumer) -> tuple[str, str]:
        """An active key of the same environment, so that the example can be pasted as it is."""
        same = Key.objects.filter(tenant_id=consumer.tenant_id, environment=consumer.environment)
        key = same.filter(state=KeyState.ACTIVE).order_by("created_at").first()
        return (key.slug, key.scopes[0]) if key and key.scopes else super().sample(consumer)
