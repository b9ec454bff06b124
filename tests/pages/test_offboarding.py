from __future__ import annotations

from typing import TYPE_CHECKING

from tenants.models import OffboardingStep
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from tests.world import World


def test_the_end_of_a_tenant_can_be_watched(world: World) -> None:
    from keys.services import offboarding  # noqa: PLC0415  # settings must be ready
    from tenants.services import consumers  # noqa: PLC0415

    cast = world.tenant()
    with world.bound(cast):
        for number in range(230):
            consumers.register(actor=cast.actor, name=f"Worker {number}", kind="service", environment="production")
    browser, address = sign_in(cast.owner), at("tenants:offboarding", cast)
    staff = world.staff_actor()
    assert browser.get(address).status_code == 404
    with world.bound(cast):
        offboarding.start(actor=staff, reason="contract_ended", confirmation=cast.slug)
    with world.inside(cast):
        steps = OffboardingStep.objects.all()
        steps.filter(position__lte=120).update(state="running")
        steps.filter(position__lte=120).update(state="done")
        steps.filter(position=121).update(state="calling")
        steps.filter(position=121).update(state="residual", note="The provider has no way to end it.")
    page = browser.get(address)
    assert 'http-equiv="refresh"' in page.content.decode()
    assert dict(page.context["totals"]) == {"Steps": 232, "Done": 120, "Open": 111, "Left to people": 1}
    assert page.context["run"]["percent"] == 52
    assert len(page.context["steps"]) == 200
    assert "Platform staff" in text_of(page)
    assert "The provider has no way to end it." in text_of(page)
    assert browser.get(at("keys:list", cast)).status_code == 200
    refused = browser.post(
        at("tenants:consumer-register", cast),
        {"name": "Late", "kind": "service", "environment": "production", "operated_by": "tenant"},
    )
    assert refused.status_code == 409
