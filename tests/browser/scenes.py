"""The pages that are looked at: who sees each, where it is, and what is done there first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.template.loader import render_to_string

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.people import Person


@dataclass(frozen=True, slots=True)
class Scene:
    """A page: who sees it, where it is (with names of `Scenery.places`), and what is done there first."""

    who: str
    path: str
    status: int = 200
    act: Callable[[Person], None] | None = None


def send_empty(person: Person) -> None:
    """Send the page's form as it is, past the browser's own checks."""
    form = person.page.locator("main form[method=post]").first
    form.evaluate("form => { form.noValidate = true; }")
    form.locator("button[type=submit]").first.click()
    person.page.wait_for_load_state()


def open_menu(person: Person) -> None:
    person.page.locator("main summary").first.click()


def paste_nonsense(person: Person) -> None:
    """Hand in a head that no log signed; the script sends it and leaves the answer to the page."""
    person.page.get_by_label("Or paste it").fill("nothing of ours")
    person.page.get_by_role("button", name="Download the export").click()
    person.page.get_by_role("alert").wait_for()


def lose_cookies(person: Person) -> None:
    """The form was open so long that its cookie is gone."""
    person.page.context.clear_cookies()
    send_empty(person)


def lose_database(person: Person) -> None:
    """The page of an outage, at an address of the portal: this one has its database."""
    address = f"{person.watch.origin}/away"
    body = render_to_string("503.html")
    person.page.route(address, lambda route: route.fulfill(status=503, content_type="text/html", body=body))
    with person.watch.expecting(503):
        person.page.goto(address)
    person.page.unroute(address)


def suspend(person: Person) -> None:
    """Ask for it; the page that answers asks to confirm."""
    person.page.get_by_role("button", name="Suspend").click()
    person.page.wait_for_load_state()


SCENES = {
    "sign_in": Scene("nobody", "/accounts/login/"),
    "sign_in_wrong": Scene("nobody", "/accounts/login/", act=send_empty),
    "password_reset": Scene("nobody", "/accounts/password/reset/"),
    "invitation": Scene("nobody", "{invitation}/"),
    "not_found": Scene("nobody", "/no-such-page", status=404),
    "not_allowed": Scene("owner", "{globex}/policy/set/", status=403),
    "form_expired": Scene("nobody", "/accounts/login/", status=403, act=lose_cookies),
    "database_away": Scene("nobody", "/accounts/login/", act=lose_database),
    "api_docs": Scene("nobody", "/api/v1/docs/"),
    "sign_out": Scene("owner", "/accounts/logout/"),
    "tenants": Scene("owner", "/"),
    "keys": Scene("owner", "{acme}/"),
    "keys_first": Scene("beginner", "{initech}/"),
    "choose_provider": Scene("owner", "{acme}/register-key/"),
    "register": Scene("owner", "{acme}/register-key/?provider=openbao"),
    "register_wrong": Scene("owner", "{acme}/register-key/?provider=openbao", 422, send_empty),
    "key": Scene("owner", "{active}/"),
    "key_menu": Scene("owner", "{active}/", act=open_menu),
    "key_pending": Scene("owner", "{pending}/"),
    "key_rotating": Scene("owner", "{rotating}/"),
    "key_revoked": Scene("owner", "{revoked}/"),
    "key_long_name": Scene("owner", "{long}/"),
    "activate": Scene("owner", "{pending}/activate/"),
    "grant": Scene("owner", "{active}/grant/"),
    "grant_wrong": Scene("owner", "{active}/grant/", 422, send_empty),
    "rotate": Scene("owner", "{active}/rotate/"),
    "rotate_offer": Scene("owner", "{long}/rotate/"),
    "rotate_assisted": Scene("owner", "{long}/rotate-assisted/"),
    "revoke": Scene("owner", "{long}/revoke/"),
    "finish_rotation": Scene("owner", "{rotating}/versions/1/finish/"),
    "roll_back": Scene("owner", "{rotating}/versions/1/roll-back/"),
    "brownout": Scene("owner", "{rotating}/versions/1/brownout/"),
    "brownout_end": Scene("owner", "{rotating}/versions/1/brownout/end/"),
    "hand_over": Scene("owner", "{active}/hand-over/"),
    "member_role": Scene("owner", "{acme}/members/{member_id}/role/"),
    "projects": Scene("owner", "{acme}/projects/"),
    "project_end": Scene("owner", "{project}/end/"),
    "member_remove": Scene("owner", "{acme}/members/{member_id}/remove/"),
    "invitation_withdraw": Scene("owner", "{acme}/invitations/{invitation_id}/withdraw/"),
    "consumers": Scene("owner", "{acme}/consumers/"),
    "consumer": Scene("owner", "{consumer}/"),
    "consumer_register": Scene("owner", "{acme}/register-consumer/"),
    "token_issue": Scene("owner", "{consumer}/issue-token/"),
    "token_once": Scene("owner", "{consumer}/issue-token/", act=send_empty),
    "findings": Scene("owner", "{acme}/findings/"),
    "findings_none": Scene("beginner", "{initech}/findings/"),
    "finding_accept": Scene("owner", "{rotating}/findings/excess_privilege/accept/"),
    "campaigns": Scene("owner", "{acme}/campaigns/"),
    "campaign": Scene("owner", "{campaign}/"),
    "campaign_start_wrong": Scene("owner", "{acme}/start-campaign/", 422, send_empty),
    "my_keys": Scene("owner", "{acme}/my-keys/"),
    "recertify": Scene("owner", "{active}/recertify/"),
    "drills": Scene("owner", "{acme}/drills/"),
    "drill": Scene("owner", "{drill}/"),
    "right_size": Scene("owner", "{active}/right-size/"),
    "expose": Scene("owner", "{active}/compromise/"),
    "incidents": Scene("owner", "{acme}/incidents/"),
    "incident": Scene("owner", "{incident}/"),
    "incident_report": Scene("owner", "{incident}/report/"),
    "jobs": Scene("owner", "{acme}/jobs/"),
    "jobs_none": Scene("beginner", "{initech}/jobs/"),
    "inbox": Scene("owner", "{acme}/inbox/?show=all"),
    "preferences": Scene("owner", "{acme}/notice-preferences/"),
    "members": Scene("owner", "{acme}/members/"),
    "invite": Scene("owner", "{acme}/invite/"),
    "audit": Scene("owner", "{acme}/audit/"),
    "audit_uses": Scene("owner", "{acme}/audit/?action=key.used"),
    "audit_none_found": Scene("owner", "{acme}/audit/?from=2030-01-01"),
    "audit_wrong_filter": Scene("owner", "{acme}/audit/?from=yesterday", 422),
    "audit_entry": Scene("owner", "{entry}/"),
    "audit_first_page": Scene("beginner", "{initech}/audit/"),
    "audit_export": Scene("owner", "{acme}/audit/export/"),
    "audit_export_wrong": Scene("owner", "{acme}/audit/export/", 422, paste_nonsense),
    "audit_erase": Scene("owner", "{acme}/audit/erase/"),
    "audit_erase_unknown": Scene("owner", "{acme}/audit/erase/?kind=person&id=nobody", 422),
    "audit_erase_entry": Scene("owner", "{acme}/audit/erase/?kind=event&id={event_id}"),
    "audit_erase_person": Scene("owner", "{acme}/audit/erase/?kind=person&id={backup_id}"),
    "audit_erase_wrong": Scene("owner", "{acme}/audit/erase/?kind=person&id={backup_id}", 422, send_empty),
    "audit_erased": Scene("owner", "{erased}/"),
    "audit_erasure": Scene("owner", "{erasure}/"),
    "offboarding": Scene("owner", "{globex}/offboarding/"),
    "documents": Scene("owner", "{globex}/audit/documents/"),
    "documents_none": Scene("owner", "{acme}/audit/documents/"),
    "certificate": Scene("owner", "{globex}/offboarding/certificate/"),
    "staff_suspend": Scene("staff", "/staff/tenants/tenant/{acme_id}/change/", act=suspend),
    "staff_grants": Scene("staff", "/staff/keys/grant/"),
    "staff": Scene("staff", "/staff/"),
    "staff_tenants": Scene("staff", "/staff/tenants/tenant/"),
    "staff_tenant_add": Scene("staff", "/staff/tenants/tenant/add/"),
    "staff_tenant": Scene("staff", "/staff/tenants/tenant/{acme_id}/change/"),
    "staff_consumer_add": Scene("staff", "/staff/tenants/consumer/add/"),
    "staff_keys": Scene("staff", "/staff/keys/key/"),
    "staff_audit": Scene("staff", "/staff/audit/entry/?outcome=denied"),
    "staff_log_health": Scene("staff", "/staff/audit/logstate/"),
    "staff_entry": Scene("staff", "/staff/audit/entry/{entry_idx}/change/"),
    "staff_offboarding_add": Scene("staff", "/staff/tenants/offboarding/add/?tenant={acme_id}"),
}
