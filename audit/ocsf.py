"""An entry as an event of the Open Cybersecurity Schema Framework (OCSF 1.8). Must never do I/O.

The same entry under the same sequence number always gives the same event, so that a delivery can be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from audit.ocsf_meanings import (
    API_ACTIVITY,
    AUTHENTICATION,
    AUTHORIZE_SESSION,
    DETECTION_FINDING,
    ENTITY_MANAGEMENT,
    INCIDENT_FINDING,
    MEANINGS,
    OTHER,
    USER_ACCESS,
    Meaning,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

VERSION: Final = "1.8.0"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_METHODS: Final = {"POST": 1, "GET": 2, "HEAD": 2, "OPTIONS": 2, "PUT": 3, "PATCH": 3, "DELETE": 4}
_VERBS: Final = {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}
_SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"}
_STATUSES: Final = {"allowed": (1, "Success"), "denied": (2, "Failure"), "failed": (2, "Failure")}
_PROGRESS: Final = {
    "new": (1, "New"),
    "in_progress": (2, "In Progress"),
    "on_hold": (3, "On Hold"),
    "resolved": (4, "Resolved"),
    "closed": (5, "Closed"),
}
_TITLES: Final = {
    "key.compromised": "Credential compromised",
    "key.quarantined": "Credential may be compromised",
    "key.leaked": "Credential found in public",
}
_ACTORS: Final = {"person": (1, "User"), "staff": (2, "Admin"), "worker": (3, "System"), "consumer": (4, "Service")}
_TYPES: Final = {
    "key": "API Credential",
    "tenant": "Tenant",
    "consumer": "Consumer",
    "project": "Project",
    "job": "Job",
    "provider": "Provider",
    "incident": "Incident",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where an event comes from. `log_name`: the stream that `sequence` counts in, from 1 and without gaps."""

    tenant_id: UUID
    idx: int
    tseq: int
    sequence: int
    log_name: str


def map_entry(body: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The OCSF event of an entry's body. An action that is unknown here becomes API Activity of that name."""
    meaning = meaning_of(body)
    detail, outcome = body["detail"], str(body["outcome"])
    severity = max(meaning.severity, {"denied": 2, "failed": 3}.get(outcome, 1))
    status_id, status = _STATUSES.get(outcome, (0, "Unknown"))
    event = {
        "activity_id": meaning.activity_id,
        "activity_name": meaning.activity,
        "actor": {"user": _user(body["actor"])},
        "category_uid": meaning.class_uid // 1000,
        "class_uid": meaning.class_uid,
        "message": f"{body['action']}: {outcome}",
        "metadata": _metadata(body, source) | _profiles(meaning.class_uid),
        "severity": _SEVERITIES[severity],
        "severity_id": severity,
        "status": status,
        "status_id": status_id,
        "time": _milliseconds(str(body["time"])),
        "type_uid": meaning.class_uid * 100 + meaning.activity_id,
        "unmapped": {"detail": detail, "idx": source.idx, "target": body["target"], "tseq": source.tseq},
        **_SHAPES[meaning.class_uid](body),
    }
    if isinstance(detail.get("code"), str) and detail["code"]:
        event["status_code"] = detail["code"]
    return event


def meaning_of(body: Mapping[str, Any]) -> Meaning:
    """Class and activity. A refused operation, which carries its command's name, is a call that did not happen."""
    action = str(body["action"])
    if action in ("key.used", "key.called"):
        number = _METHODS.get(str(body["detail"].get("method", "GET")).upper(), 2)
        return Meaning(API_ACTIVITY, number, _VERBS[number])
    if action == "incident.moved" and body["detail"].get("state") == "closed":
        return Meaning(INCIDENT_FINDING, 3, "Close")
    return MEANINGS.get(action) or Meaning(API_ACTIVITY, OTHER, action)


def _metadata(body: Mapping[str, Any], source: Source) -> dict[str, Any]:
    known = {"correlation_uid": body["req"]} if body.get("req") else {}
    return {
        **known,
        "event_code": body["action"],
        "log_name": source.log_name,
        "product": {"name": "BYOK Portal", "vendor_name": "BYOK Portal"},
        "sequence": source.sequence,
        "tenant_uid": str(source.tenant_id),
        "uid": body["id"],
        "version": VERSION,
    }


def _profiles(class_uid: int) -> dict[str, Any]:
    """The profiles that the attributes of a finding come from: without the first, it has no actor."""
    if class_uid == DETECTION_FINDING:
        return {"profiles": ["host"]}
    return {"profiles": ["host", "incident"]} if class_uid == INCIDENT_FINDING else {}


def _user(actor: Mapping[str, Any]) -> dict[str, Any]:
    type_id, name = _ACTORS.get(actor["kind"], (OTHER, str(actor["kind"])))
    return {"type": name, "type_id": type_id, "uid": actor["id"]}


def _milliseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def _call(body: Mapping[str, Any]) -> dict[str, Any]:
    """`src_endpoint` is required; the address itself is personal data and not in the log."""
    actor, target = body["actor"], body["target"]
    return {
        "api": {"operation": body["action"], "request": {"uid": body["req"] or body["id"]}},
        "resources": [{"type": _TYPES.get(target["kind"], target["kind"]), "uid": target["id"]}],
        "src_endpoint": {"name": actor["kind"], "uid": actor["id"]},
    }


def _entity(body: Mapping[str, Any]) -> dict[str, Any]:
    target = body["target"]
    kind = _TYPES.get(target["kind"], target["kind"])
    return {"entity": {"data": body["detail"], "type": kind, "type_id": OTHER, "uid": target["id"]}}


def _privileges(body: Mapping[str, Any]) -> dict[str, Any]:
    detail = body["detail"]
    scopes = detail.get("scopes")
    privileges = [str(scope) for scope in scopes] if isinstance(scopes, list) else []
    user = {"type": "Service", "type_id": 4, "uid": str(detail.get("consumer") or body["target"]["id"])}
    return {"privileges": privileges or [body["action"]], "user": user}


def _role(body: Mapping[str, Any]) -> dict[str, Any]:
    user = {"type": "User", "type_id": 1, "uid": body["target"]["id"]}
    return {"privileges": [str(body["detail"].get("role") or "member")], "user": user}


def _login(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"is_remote": True, "service": {"name": "BYOK Portal"}, "user": _user(body["actor"])}


def _finding_info(body: Mapping[str, Any]) -> dict[str, Any]:
    """One finding per incident, so that what follows joins what began it; without one, per event."""
    action, target = body["action"], body["target"]
    uid = target["id"] if target["kind"] == "incident" else body["detail"].get("incident") or body["id"]
    return {"title": _TITLES.get(action, "Credential exposed"), "types": [action], "uid": uid}


def _incident(body: Mapping[str, Any]) -> dict[str, Any]:
    # `status` is here the state of the incident, and somebody has to be in charge (OCSF: at least one assignee).
    is_over = body["action"] == "incident.dismissed"
    state = "closed" if is_over else str(body["detail"].get("state", ""))
    began = body["target"]["kind"] == "key"
    status_id, status = _PROGRESS.get(state) or _PROGRESS["new" if began else "in_progress"]
    return {
        "assignee_group": {"name": "Tenant owner", "uid": body["target"]["id"]},
        "finding_info_list": [_finding_info(body)],
        "is_suspected_breach": not is_over,
        "status": status,
        "status_id": status_id,
    }


def _detection(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "finding_info": _finding_info(body),
        "is_alert": True,
        "resources": [{"type": _TYPES["key"], "uid": body["target"]["id"]}],
        "status": "New",
        "status_id": 1,
    }


_Shape: TypeAlias = "Callable[[Mapping[str, Any]], dict[str, Any]]"
_SHAPES: Final[dict[int, _Shape]] = {
    API_ACTIVITY: _call,
    ENTITY_MANAGEMENT: _entity,
    AUTHORIZE_SESSION: _privileges,
    USER_ACCESS: _role,
    AUTHENTICATION: _login,
    INCIDENT_FINDING: _incident,
    DETECTION_FINDING: _detection,
}
