"""What each action of the record is in OCSF: class, activity and severity. A new action gets its row here."""

from __future__ import annotations

from typing import Final, NamedTuple

AUTHENTICATION: Final = 3002
AUTHORIZE_SESSION: Final = 3003
ENTITY_MANAGEMENT: Final = 3004
USER_ACCESS: Final = 3005
API_ACTIVITY: Final = 6003
DETECTION_FINDING: Final = 2004
INCIDENT_FINDING: Final = 2005
OTHER: Final = 99


class Meaning(NamedTuple):
    """What an action is in OCSF. `severity`: of the fact; a refusal or failure raises it to Low or Medium."""

    class_uid: int
    activity_id: int
    activity: str
    severity: int = 1


_MANAGED: Final[dict[str, tuple[int, str, int]]] = {
    "key.registered": (1, "Create", 1),
    "key.proven": (3, "Update", 1),
    "key.proof_failed": (3, "Update", 3),
    "key.activated": (10, "Activate", 1),
    "key.suspended": (12, "Suspend", 2),
    "key.resumed": (13, "Resume", 2),
    "key.rotated": (3, "Update", 1),
    "key.rotation_finished": (3, "Update", 1),
    "key.right_sized": (3, "Update", 1),
    "finding.accepted": (OTHER, "Accept a finding", 2),
    "campaign.started": (1, "Create", 1),
    "campaign.closed": (11, "Deactivate", 1),
    "campaign.cancelled": (4, "Delete", 2),
    "key.confirmed": (OTHER, "Confirm", 1),
    "key.change_wanted": (OTHER, "Ask for a change", 2),
    "key.disowned": (OTHER, "Disown", 2),
    "key.canary_set": (3, "Update", 2),
    "drill.scheduled": (3, "Update", 1),
    "drill.started": (1, "Create", 1),
    "drill.prepared": (3, "Update", 1),
    "drill.measured": (OTHER, "Measure", 1),
    "drill.finished": (OTHER, "Measure", 1),
    "key.handed_over": (3, "Update", 1),
    "key.hand_over_opened": (3, "Update", 2),
    "key.rolled_back": (3, "Update", 2),
    "key.expired": (11, "Deactivate", 1),
    "key.brownout_set": (12, "Suspend", 1),
    "key.brownout_ended": (13, "Resume", 1),
    "key.revoked": (4, "Delete", 2),
    "key.reminded": (OTHER, "Remind", 1),
    "key.escalated": (OTHER, "Escalate", 2),
    "notice.read": (2, "Read", 1),
    "notice.preferred": (3, "Update", 1),
    "key.withdrawn": (4, "Delete", 1),
    "key.successor_asked": (3, "Update", 1),
    "key.successor_made": (1, "Create", 1),
    "key.successor_given_up": (4, "Delete", 2),
    "key.upstream_called": (3, "Update", 1),
    "key.upstream_revoked": (11, "Deactivate", 1),
    "key.upstream_residual": (OTHER, "Left active at the provider", 4),
    "consumer.registered": (1, "Create", 1),
    "consumer.ended": (4, "Delete", 2),
    "consumer.token_issued": (6, "Enroll", 1),
    "consumer.token_revoked": (7, "Unenroll", 1),
    "tenant.opened": (1, "Create", 1),
    "tenant.activated": (10, "Activate", 1),
    "tenant.edited": (3, "Update", 1),
    "tenant.suspended": (12, "Suspend", 3),
    "tenant.resumed": (13, "Resume", 2),
    "tenant.keys_shredded": (4, "Delete", 3),
    "tenant.offboarding_started": (11, "Deactivate", 3),
    "tenant.offboarding_step": (3, "Update", 1),
    "tenant.offboarded": (4, "Delete", 3),
    "tenant.automatic_end_set": (3, "Update", 2),
    "offboarding.planned": (3, "Update", 1),
    "offboarding.step": (3, "Update", 1),
    "offboarding.residual_settled": (3, "Update", 2),
    "project.created": (1, "Create", 1),
    "project.changed": (3, "Update", 1),
    "project.offboarding_started": (11, "Deactivate", 3),
    "project.offboarded": (4, "Delete", 3),
    "consumer.project_set": (3, "Update", 1),
    "consumer.offboarded": (4, "Delete", 1),
    "key.project_set": (3, "Update", 1),
    "key.destroyed": (4, "Delete", 2),
    "key.rotation_flagged": (3, "Update", 2),
    "member.offboarded": (4, "Delete", 1),
    "member.sessions_ended": (4, "Delete", 1),
    "policy.changed": (3, "Update", 2),
    "policy.applied": (3, "Update", 1),
    "platform.policy_changed": (3, "Update", 3),
    "provider.added": (1, "Create", 1),
    "provider.edited": (3, "Update", 2),
    "audit.pruned": (4, "Delete", 3),
    "audit.reopened": (OTHER, "Opened under a new name after a loss", 4),
    "audit.personal_data_erased": (4, "Delete", 3),
    "audit.exported": (2, "Read", 2),
    "audit.saved": (2, "Read", 2),
    "document.issued": (1, "Create", 1),
    "document.handed_out": (2, "Read", 1),
}
MEANINGS: Final[dict[str, Meaning]] = {
    **{action: Meaning(ENTITY_MANAGEMENT, *meaning) for action, meaning in _MANAGED.items()},
    "credential.introspected": Meaning(API_ACTIVITY, 2, "Read"),
    "grant.created": Meaning(AUTHORIZE_SESSION, 1, "Assign Privileges"),
    "grant.ended": Meaning(AUTHORIZE_SESSION, OTHER, "Revoke Privileges"),
    "grant.expired": Meaning(AUTHORIZE_SESSION, OTHER, "Revoke Privileges"),
    "member.invited": Meaning(USER_ACCESS, 1, "Assign Privileges"),
    "member.joined": Meaning(USER_ACCESS, 1, "Assign Privileges"),
    "member.role_changed": Meaning(USER_ACCESS, 1, "Assign Privileges"),
    "invitation.withdrawn": Meaning(USER_ACCESS, 2, "Revoke Privileges"),
    "member.removed": Meaning(USER_ACCESS, 2, "Revoke Privileges", 2),
    "session.started": Meaning(AUTHENTICATION, 1, "Logon"),
    "session.refused": Meaning(AUTHENTICATION, 1, "Logon", 2),
    "session.ended": Meaning(AUTHENTICATION, 2, "Logoff"),
    "key.compromised": Meaning(INCIDENT_FINDING, 1, "Create", 5),
    "key.quarantined": Meaning(INCIDENT_FINDING, 1, "Create", 4),
    "incident.task_settled": Meaning(INCIDENT_FINDING, 2, "Update"),
    "incident.noted": Meaning(INCIDENT_FINDING, 2, "Update"),
    "incident.moved": Meaning(INCIDENT_FINDING, 2, "Update"),
    "incident.since_changed": Meaning(INCIDENT_FINDING, 2, "Update"),
    "incident.confirmed": Meaning(INCIDENT_FINDING, 2, "Update", 5),
    "incident.dismissed": Meaning(INCIDENT_FINDING, 3, "Close"),
    "key.leaked": Meaning(DETECTION_FINDING, 1, "Create", 5),
}
