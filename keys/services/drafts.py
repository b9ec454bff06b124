"""What a registrant chooses, checked against the catalogue and the tenant before anything is asked of a provider."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from byok_portal.boundary.identifiers import parse_id
from byok_portal.errors import InvalidInput, InvalidInputs, NotFound
from keys import selectors
from keys.catalogue.parameters import check_parameters
from keys.models import Key
from keys.services.catalogue import entry_of
from keys.states import Custody
from keys.upstream.endpoints import validate_endpoint
from tenants import rules
from tenants.selectors import list_owner_candidates
from tenants.services.projects import find_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import date
    from typing import Any
    from uuid import UUID

    from keys.catalogue import ProviderEntry
    from keys.models import Provider

CRITICAL: Final = 4


@dataclass(frozen=True, slots=True)
class KeyDraft:
    """A registrant's choices as the door received them, still unchecked. Holds no plaintext."""

    provider: str
    name: str
    environment: str
    custody: str
    purpose: str
    owner: str
    backup_owner: str
    ends_on: date | None
    scopes: tuple[str, ...]
    endpoint: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    justification: str = ""
    project: str = ""


@dataclass(frozen=True, slots=True)
class CheckedDraft:
    """The same choices, each valid. `key` is the unsaved row."""

    key: Key
    provider: Provider
    entry: ProviderEntry


def check(draft: KeyDraft) -> CheckedDraft:
    """Check every field. Raises InvalidInputs with all problems at once, so that a person mends them in one go."""
    provider, entry = _provider(draft.provider)
    problems: list[InvalidInput] = []

    def collect(step: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        try:
            return step(*arguments, **keywords)
        except InvalidInput as problem:
            problems.append(problem)
            return None

    name = collect(rules.require_text, draft.name, field="name", maximum=80)
    key = Key(
        provider=provider,
        name=name,
        slug=collect(_free_slug, name) if name else "",
        environment=collect(rules.require_environment, draft.environment),
        custody=collect(_custody, draft.custody),
        purpose=collect(rules.require_text, draft.purpose, field="purpose", maximum=300),
        ends_on=collect(rules.require_end_date, draft.ends_on, field="ends_on"),
        endpoint=collect(_endpoint, draft.endpoint, entry, provider),
        parameters=collect(check_parameters, entry, draft.parameters),
        owner_id=collect(find_person, draft.owner, "owner"),
        backup_owner_id=collect(find_person, draft.backup_owner, "backup_owner"),
        scopes=collect(check_scopes, draft.scopes, entry),
        project=collect(find_project, draft.project),
    )
    if draft.owner and draft.owner == draft.backup_owner:
        rule = "Backup owner must be another person than the owner."
        problems.append(InvalidInput(rule, code="same_person", field="backup_owner"))
    key.justification = collect(_justification, draft.justification, key.scopes or [], entry) or ""
    if problems:
        raise problems[0] if len(problems) == 1 else InvalidInputs(problems)
    return CheckedDraft(key, provider, entry)


def check_scopes(scopes: Iterable[str], entry: ProviderEntry) -> list[str]:
    """Known scopes, at least one, without doubles, in the catalogue's order."""
    chosen = set(scopes)
    if not chosen:
        raise InvalidInput(
            "Scopes: choose at least one. Nothing is granted by default.", code="required", field="scopes"
        )
    for scope in sorted(chosen):
        if entry.scope(scope) is None:
            raise InvalidInput(
                f"Scopes: {entry.name} has no scope {scope[:60]!r}.", code="unknown_scope", field="scopes"
            )
    return [scope.id for scope in entry.scopes if scope.id in chosen]


def _provider(slug: str) -> tuple[Provider, ProviderEntry]:
    try:
        provider = selectors.get_provider(slug)
    except NotFound:
        raise InvalidInput("Provider is not in the catalogue.", code="unknown_provider", field="provider") from None
    entry = entry_of(provider)
    if not provider.is_enabled:
        raise InvalidInput("Provider is switched off by the platform.", code="provider_off", field="provider")
    if entry.adapter == "none":
        raise InvalidInput(
            f"Control of a {entry.name} key cannot be proven yet, so it cannot be registered.",
            code="provider_unprovable",
            field="provider",
        )
    return provider, entry


def _free_slug(name: str) -> str:
    slug = rules.slug_from(name)
    if Key.objects.filter(slug=slug).exists():
        raise InvalidInput("Name is taken by another key of this tenant.", code="name_taken", field="name")
    return slug


def _custody(value: str) -> str:
    if value in {Custody.REFERENCED, Custody.VERIFIER}:
        raise InvalidInput(
            "Custody: only sealed is available in this installation.",
            code="custody_unavailable",
            field="custody",
        )
    return rules.require_choice(value, [Custody.SEALED.value], field="custody")


def _endpoint(value: str, entry: ProviderEntry, provider: Provider) -> str:
    if entry.endpoint.kind == "fixed":
        if value and value != entry.endpoint.url:
            raise InvalidInput(
                f"Endpoint is fixed for {entry.name}; leave it out.", code="endpoint_fixed", field="endpoint"
            )
        return entry.endpoint.url
    text = rules.require_text(value, field="endpoint", maximum=300)
    return validate_endpoint(text, provider.allow_private_networks)


def find_person(reference: str, name: str) -> UUID:
    """Who may answer for a key. Raises InvalidInput, naming the field, for anybody else."""
    user_id = parse_id(reference)
    person = list_owner_candidates().filter(id=user_id).first() if user_id else None
    if person is None:
        raise InvalidInput(
            f"{rules.label(name)} must be an active member of this tenant who can act, so not an auditor.",
            code="not_a_member",
            field=name,
        )
    return person.pk


def _justification(value: str, scopes: list[str], entry: ProviderEntry) -> str:
    critical = [scope for scope in map(entry.scope, scopes) if scope and scope.risk >= CRITICAL]
    text = rules.require_text(value, field="justification", maximum=500, required=False)
    if critical and not text:
        raise InvalidInput(
            f"Justification is required: {critical[0].name} is a critical scope.",
            code="required",
            field="justification",
        )
    return text
