"""Issuing the certificate of an offboarding, in the commit of its last step; and again when people settled the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.services import documents
from keys import certificates
from keys.services import runs
from tenants.selectors import CERTIFICATE

if TYPE_CHECKING:
    from audit.models import Document
    from byok_portal.boundary.actors import Actor
    from tenants.models import Offboarding


def issue(actor: Actor, run: Offboarding) -> Document:
    """The certificate of a finished and locked run, as part of the operation that calls it, and the run's own from
    now on. Raises Conflict while it runs.
    """
    issued = documents.issue(
        actor=actor,
        kind=CERTIFICATE,
        subject=runs.target_of(run),
        statement=certificates.statement_of(run),
        events=certificates.events_of(run),
        title=certificates.TITLE,
    )
    run.certificate_id = issued.id
    run.save(update_fields=["certificate"])
    return issued
