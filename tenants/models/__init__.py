"""What exists: people, tenants, consumers and their tokens, offboardings, and what is said to whom."""

from __future__ import annotations

from tenants.models.consumers import Consumer, ConsumerKind, ConsumerToken
from tenants.models.notices import Channel, Mail, Notice, NoticePreference, RecipientKind, Reminder
from tenants.models.offboarding import Offboarding, OffboardingStep
from tenants.models.people import SLUG, Invitation, Membership, Tenant, User, UserManager
from tenants.models.projects import Project

__all__ = [
    "SLUG",
    "Channel",
    "Consumer",
    "ConsumerKind",
    "ConsumerToken",
    "Invitation",
    "Mail",
    "Membership",
    "Notice",
    "NoticePreference",
    "Offboarding",
    "OffboardingStep",
    "Project",
    "RecipientKind",
    "Reminder",
    "Tenant",
    "User",
    "UserManager",
]
