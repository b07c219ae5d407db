"""The nouns of accounts, one file per subject. Nothing is defined here."""

from accounts.models.flags import FeatureFlag, FeatureFlagChange
from accounts.models.keys import ApiKey, IdempotentRequest, Project, SnapshotVersion, default_scopes
from accounts.models.organizations import Invitation, LimitProfile, Membership, Organization, Role, StaffNote
from accounts.models.people import PasswordFailure, User, UserManager
from accounts.models.records import AuditEvent, DataCopy

__all__ = [
    "ApiKey",
    "AuditEvent",
    "DataCopy",
    "FeatureFlag",
    "FeatureFlagChange",
    "IdempotentRequest",
    "Invitation",
    "LimitProfile",
    "Membership",
    "Organization",
    "PasswordFailure",
    "Project",
    "Role",
    "SnapshotVersion",
    "StaffNote",
    "User",
    "UserManager",
    "default_scopes",
]
