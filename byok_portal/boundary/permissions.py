"""Every permission of the portal, and which role or kind of actor holds it. Nothing else grants one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """Commands, as `resource:action`. A closed list: an operation without a row here cannot be declared."""

    TENANT_READ = "tenant:read"
    TENANT_OPEN = "tenant:open"
    TENANT_EDIT = "tenant:edit"
    TENANT_SUSPEND = "tenant:suspend"
    TENANT_OFFBOARD = "tenant:offboard"
    TENANT_AGREE = "tenant:agree"
    OFFBOARDING_SETTLE = "offboarding:settle"
    PROJECT_READ = "project:read"
    PROJECT_EDIT = "project:edit"
    PROJECT_OFFBOARD = "project:offboard"
    MEMBER_READ = "member:read"
    MEMBER_INVITE = "member:invite"
    MEMBER_ACCEPT = "member:accept"
    MEMBER_REMOVE = "member:remove"
    CONSUMER_READ = "consumer:read"
    CONSUMER_REGISTER = "consumer:register"
    CONSUMER_TOKEN = "consumer:token"  # noqa: S105  # a permission, not a token
    CONSUMER_END = "consumer:end"
    PROVIDER_READ = "provider:read"
    PROVIDER_EDIT = "provider:edit"
    KEY_READ = "key:read"
    KEY_REGISTER = "key:register"
    KEY_PROVE = "key:prove"
    KEY_ACTIVATE = "key:activate"
    KEY_ROTATE = "key:rotate"
    KEY_SUSPEND = "key:suspend"
    KEY_RESUME = "key:resume"
    KEY_REVOKE = "key:revoke"
    KEY_COMPROMISE = "key:compromise"
    KEY_WITHDRAW = "key:withdraw"
    KEY_HAND_OVER = "key:hand_over"
    KEY_USE = "key:use"
    CREDENTIAL_INTROSPECT = "credential:introspect"
    FINDING_ACCEPT = "finding:accept"
    KEY_CONFIRM = "key:confirm"
    CAMPAIGN_RUN = "campaign:run"
    DRILL_RUN = "drill:run"
    INCIDENT_RESPOND = "incident:respond"
    GRANT_READ = "grant:read"
    GRANT_CREATE = "grant:create"
    GRANT_END = "grant:end"
    POLICY_SET = "policy:set"
    PLATFORM_POLICY = "platform:policy"
    AUDIT_READ = "audit:read"
    AUDIT_ERASE = "audit:erase"
    NOTICE_READ = "notice:read"
    NOTICE_PREFER = "notice:prefer"
    JOB_READ = "job:read"
    JOB_RETRY = "job:retry"
    JOB_RUN = "job:run"


class Role(StrEnum):
    """What a member may do in one tenant."""

    OWNER = "owner"
    CUSTODIAN = "custodian"
    APPROVER = "approver"
    AUDITOR = "auditor"


_P = Permission

_READ: Final = frozenset(
    {
        _P.TENANT_READ,
        _P.PROVIDER_READ,
        _P.KEY_READ,
        _P.GRANT_READ,
        _P.CONSUMER_READ,
        _P.MEMBER_READ,
        _P.PROJECT_READ,
        # Everybody's own inbox, nobody else's.
        _P.NOTICE_READ,
        _P.NOTICE_PREFER,
    }
)

ROLE_PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.OWNER: _READ
    | {
        _P.TENANT_AGREE,
        _P.OFFBOARDING_SETTLE,
        _P.PROJECT_EDIT,
        _P.PROJECT_OFFBOARD,
        _P.MEMBER_INVITE,
        _P.MEMBER_REMOVE,
        _P.CONSUMER_REGISTER,
        _P.CONSUMER_TOKEN,
        _P.CONSUMER_END,
        _P.KEY_REGISTER,
        _P.KEY_PROVE,
        _P.KEY_ACTIVATE,
        _P.KEY_ROTATE,
        _P.KEY_SUSPEND,
        _P.KEY_RESUME,
        _P.KEY_REVOKE,
        _P.KEY_COMPROMISE,
        _P.KEY_WITHDRAW,
        _P.KEY_HAND_OVER,
        _P.KEY_CONFIRM,
        _P.CAMPAIGN_RUN,
        _P.DRILL_RUN,
        _P.FINDING_ACCEPT,
        _P.INCIDENT_RESPOND,
        _P.GRANT_CREATE,
        _P.GRANT_END,
        _P.POLICY_SET,
        _P.AUDIT_READ,
        _P.AUDIT_ERASE,
        _P.JOB_READ,
        _P.JOB_RETRY,
    },
    # A custodian handles material; who may use it is decided by owners.
    Role.CUSTODIAN: _READ
    | {
        _P.KEY_REGISTER,
        _P.KEY_PROVE,
        _P.KEY_ROTATE,
        _P.KEY_SUSPEND,
        _P.KEY_WITHDRAW,
        _P.KEY_CONFIRM,
        _P.INCIDENT_RESPOND,
        _P.JOB_READ,
    },
    # An approver decides who may use a key and can stop one, but never handles material.
    Role.APPROVER: _READ
    | {
        _P.KEY_ACTIVATE,
        _P.GRANT_CREATE,
        _P.GRANT_END,
        _P.KEY_SUSPEND,
        _P.KEY_CONFIRM,
        _P.INCIDENT_RESPOND,
        _P.AUDIT_READ,
        _P.JOB_READ,
    },
    Role.AUDITOR: _READ | {_P.AUDIT_READ, _P.JOB_READ},
}

STAFF_PERMISSIONS: Final = frozenset(
    {
        _P.TENANT_READ,
        _P.TENANT_OPEN,
        _P.TENANT_EDIT,
        _P.TENANT_SUSPEND,
        _P.TENANT_OFFBOARD,
        _P.MEMBER_READ,
        _P.MEMBER_INVITE,
        _P.CONSUMER_READ,
        _P.CONSUMER_REGISTER,
        _P.CONSUMER_TOKEN,
        _P.CONSUMER_END,
        _P.PROVIDER_READ,
        _P.PROVIDER_EDIT,
        _P.PLATFORM_POLICY,
        _P.AUDIT_READ,
        _P.NOTICE_READ,
        _P.JOB_READ,
        _P.JOB_RETRY,
    }
)
"""Platform staff open, edit and end tenants. They never register, use or reveal a tenant's key."""

TOKEN_PERMISSIONS: Final = frozenset(
    {
        _P.TENANT_READ,
        _P.OFFBOARDING_SETTLE,
        _P.PROJECT_READ,
        _P.PROJECT_EDIT,
        _P.PROJECT_OFFBOARD,
        _P.PROVIDER_READ,
        _P.KEY_READ,
        _P.KEY_REGISTER,
        _P.KEY_PROVE,
        _P.KEY_ACTIVATE,
        _P.KEY_ROTATE,
        _P.KEY_SUSPEND,
        _P.KEY_RESUME,
        _P.KEY_REVOKE,
        _P.KEY_COMPROMISE,
        _P.KEY_WITHDRAW,
        _P.KEY_HAND_OVER,
        _P.FINDING_ACCEPT,
        _P.CAMPAIGN_RUN,
        _P.DRILL_RUN,
        _P.INCIDENT_RESPOND,
        _P.KEY_USE,
        _P.CREDENTIAL_INTROSPECT,
        _P.GRANT_READ,
        _P.GRANT_CREATE,
        _P.GRANT_END,
        _P.CONSUMER_READ,
        _P.CONSUMER_REGISTER,
        _P.CONSUMER_TOKEN,
        _P.CONSUMER_END,
        _P.POLICY_SET,
        _P.AUDIT_READ,
        _P.AUDIT_ERASE,
        _P.JOB_READ,
        _P.JOB_RETRY,
        _P.NOTICE_READ,
    }
)
"""What a consumer's token may carry. A token holds only those that were ticked; the default is `key:use`."""

WORKER_PERMISSIONS: Final = frozenset({_P.JOB_RUN})
