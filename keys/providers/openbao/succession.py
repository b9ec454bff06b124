"""OpenBao makes a token's successor, asked with the token itself. Must never let one be wider, or live on unnoticed.

Seen on OpenBao 2.7.2: revoking a token revokes its children, so a successor must be an orphan.
`auth/token/create-orphan` makes one for any token that may `update` it, with a subset of its policies, without its
identity and its bound addresses; periods take sudo. A token role with `orphan` set can give period and addresses.
Nobody can find a token by its metadata without sudo, so a successor is born with minutes to live and renewed only when
it is stored. (One of a role with a period is born with that, so the plan foresees it.)
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from byok_portal.boundary.secrets import Secret
from byok_portal.errors import Refused, UpstreamUnavailable
from keys.providers.contract import NO_SUCCESSOR, Successor, SuccessorPlan
from keys.providers.openbao import questions
from keys.providers.openbao.questions import Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keys.catalogue.entries import Json
    from keys.providers.contract import Upstream

CREATE_ORPHAN: Final = "auth/token/create-orphan"
RENEW: Final = "auth/token/renew-self"
REVOKE: Final = "auth/token/revoke-self"
_MADE_PLAINLY: Final = ("auth/token/create", CREATE_ORPHAN)
_BY_ROLE: Final = "auth/token/create/"
_LIFE: Final = "byok_ttl"
"""Metadata of a successor: its planned life in seconds. Its `creation_ttl` is the short one that it was born with."""
_MAX_REASON: Final = 200
_MAX_DIGITS: Final = 9


class OpenBaoSuccession:
    """Makes successors of tokens that came from auth/token, through create-orphan or their token role."""

    def plan(self, upstream: Upstream, plaintext: Secret) -> SuccessorPlan:
        """Raises Refused with what the token is, or with the policy lines that it lacks."""
        health = questions.ask_health(upstream)
        if health.problem:
            raise UpstreamUnavailable(health.detail, code=health.problem)
        standing, data = questions.ask_standing(upstream, plaintext)
        if standing is Standing.UNCLEAR:
            raise UpstreamUnavailable("OpenBao gave no clear answer about the current token")
        if standing is not Standing.ALIVE:
            raise _refuse("OpenBao refuses the current token, or does not let it look at itself. Bring a new one.")
        if problem := _find_obstacle(data):
            raise _refuse(problem)
        path = _path_of(data)
        held = questions.ask_rights(upstream, plaintext, [path, RENEW, REVOKE], nonce="")
        lacking = [each for each, rights in (held or {}).items() if not rights & {"update", "root"}]
        if held is None or lacking:
            raise _refuse(_word_lacking(lacking or ["sys/capabilities-self"]))
        terms = {"create": path, "cluster_id": health.cluster_id, **_read_terms(data)}
        return SuccessorPlan(terms, born_seconds=_foresee_life(data))

    def create(
        self, upstream: Upstream, plaintext: Secret, plan: SuccessorPlan, *, mark: Mapping[str, str], seconds: int
    ) -> Successor:
        """An orphan with the same policies, name and metadata, that lives for `seconds`."""
        body = _body_of(plan.terms, mark=mark, seconds=seconds)
        status, document = questions.ask(upstream, plaintext, "POST", str(plan.terms["create"]), body=body)
        auth = document.pop("auth", None)
        if status != HTTPStatus.OK or not isinstance(auth, dict) or not isinstance(auth.get("client_token"), str):
            raise _no_token(status, document)
        made = Secret(str(auth.pop("client_token")))
        evidence: dict[str, Json] = {"accessor": auth.get("accessor"), "cluster_id": plan.terms["cluster_id"]}
        return Successor(made, evidence)

    def keep(self, upstream: Upstream, plaintext: Secret, plan: SuccessorPlan) -> None:
        """Renewed to the old one's life. A periodic one has its period from the start."""
        if plan.terms["period"]:
            return
        body: Json = {"increment": f"{plan.terms['life']}s"}
        status, document = questions.ask(upstream, plaintext, "POST", RENEW, body=body)
        if status != HTTPStatus.OK:
            raise _no_token(status, document)

    def find_widening(self, plan: SuccessorPlan, evidence: Mapping[str, Json]) -> str:
        """A token role may say otherwise than we asked, so what came out is compared, not what was asked for."""
        old = plan.terms
        more = sorted(_names(evidence.get("policies")) - _names(old["policies"]))
        longest, limit = _number(evidence.get("explicit_max_ttl")), _number(old["explicit_max_ttl"])
        found = {
            f"it has more policies: {', '.join(more)}": bool(more),
            "it is no orphan, and would die with the old one": evidence.get("orphan") is not True,
            "it has an identity": bool(evidence.get("entity_id")),
            "it may be used from other networks": evidence.get("bound_cidrs") != old["bound_cidrs"],
            "it has another renewal period": _number(evidence.get("period")) != _number(old["period"]),
            "it may live longer": bool(limit) and (not longest or longest > limit),
            "it is of another kind": evidence.get("type") != "service",
        }
        return "; ".join(words for words, is_so in found.items() if is_so)

    def foresee(self, evidence: Mapping[str, Json]) -> str:
        """By what the last look kept."""
        if "path" not in evidence:
            return ""
        if problem := _find_obstacle(evidence):
            return problem
        asked = evidence.get("capabilities")
        held = asked.get(_path_of(evidence)) if isinstance(asked, dict) else None
        if isinstance(held, list) and not {"update", "root"} & _names(held):
            return _word_lacking([_path_of(evidence)])
        return ""


def _find_obstacle(data: Mapping[str, Json]) -> str:  # noqa: PLR0911  # one reason each
    """Why a token like this can have no successor that is its equal."""
    if data.get("type") != "service":
        return "Only service tokens can create tokens."
    if "root" in _names(data.get("policies")):
        return "A root token gets no successor. Bring a token that has only the policies it needs."
    if data.get("entity_id"):
        return (
            "This token has an identity (it came from a login). A token that it creates dies with it, or loses the "
            "identity's rights. Log in anew, or bring a token made with bao token create -orphan."
        )
    if data.get("num_uses"):
        return "A token with a limited number of uses gets no successor."
    path = str(data.get("path") or "")
    if path not in _MADE_PLAINLY and not path.startswith(_BY_ROLE):
        return f"A token made at {path or 'an unknown path'} cannot be made again with the token itself."
    if path.startswith(_BY_ROLE):
        return ""
    if data.get("period"):
        return "A periodic token takes a token role with token_period, or sudo; the portal wants no sudo."
    if data.get("bound_cidrs"):
        return (
            "A token that is bound to networks takes a token role with token_bound_cidrs: its successor would not be."
        )
    return ""


def _path_of(data: Mapping[str, Json]) -> str:
    """Where the successor is made: at the token's own role, or as a plain orphan."""
    path = str(data.get("path") or "")
    return _BY_ROLE + path.removeprefix(_BY_ROLE).partition("/")[0] if path.startswith(_BY_ROLE) else CREATE_ORPHAN


def _foresee_life(data: Mapping[str, Json]) -> int:
    """How long a role may let a successor live at first: as long as it let this token.

    Seen: a role with token_period gives that whatever is asked, and look-ups do not tell the period of such a token.
    """
    if not str(data.get("path") or "").startswith(_BY_ROLE):
        return 0
    return max(_number(data.get("period")), _number(data.get("creation_ttl")))


def _read_terms(data: Mapping[str, Json]) -> dict[str, Json]:
    meta = data.get("meta")
    known = dict(meta) if isinstance(meta, dict) else {}
    told = str(known.get(_LIFE) or "")
    limit = _number(data.get("explicit_max_ttl"))
    is_told = told.isascii() and told.isdigit() and len(told) <= _MAX_DIGITS
    life = int(told) if is_told else _number(data.get("creation_ttl"))
    life = min(life, limit) if limit else life
    policies: list[Json] = [*sorted(_names(data.get("policies")))]
    return {
        "policies": policies,
        "display_name": str(data.get("display_name") or "").removeprefix("token").removeprefix("-"),
        "meta": known,
        "life": life,
        "period": _number(data.get("period")),
        # It must be renewable to be kept: where the old one was not, its whole life is the limit.
        "explicit_max_ttl": limit or (0 if data.get("renewable") else life),
        "bound_cidrs": data.get("bound_cidrs") or [],
    }


def _body_of(terms: Mapping[str, Json], *, mark: Mapping[str, str], seconds: int) -> Json:
    policies = terms["policies"] if isinstance(terms["policies"], list) else []
    meta = terms["meta"] if isinstance(terms["meta"], dict) else {}
    body: dict[str, Json] = {
        "policies": policies,
        "no_default_policy": "default" not in policies,
        "meta": {**meta, **mark, _LIFE: str(terms["life"])},
        "ttl": f"{min(seconds, _number(terms['life']) or seconds)}s",
        "renewable": True,
    }
    if terms["display_name"]:
        body["display_name"] = terms["display_name"]
    if terms["explicit_max_ttl"]:
        body["explicit_max_ttl"] = f"{terms['explicit_max_ttl']}s"
    return body


def _word_lacking(paths: list[str]) -> str:
    lines = " ".join(f'path "{path}" {{ capabilities = ["update"] }}' for path in paths)
    return f"The token's policies do not let it have a successor made. Add to one of them: {lines}"


def _no_token(status: int, document: Mapping[str, Json]) -> Refused | UpstreamUnavailable:
    if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN}:
        errors = document.get("errors")
        told = "; ".join(str(each) for each in errors) if isinstance(errors, list) else ""
        reason = " ".join(told.split())[:_MAX_REASON] or f"status {int(status)}"
        return _refuse(f"OpenBao did not do it: {reason}")
    return UpstreamUnavailable(f"OpenBao gave no clear answer (status {int(status)})", code="no_verdict")


def _refuse(detail: str) -> Refused:
    return Refused(detail, code=NO_SUCCESSOR)


def _names(value: Json) -> set[str]:
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else set()


def _number(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
