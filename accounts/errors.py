"""What accounts refuses, and why. The messages are for the customer.

TokiaError
└── AccountsError            400
    ├── InvalidTaxId         400  check digits or form
    ├── UnknownCity          400  no municipality of that state is called so
    ├── InvitationGone       404  used, cancelled, expired, or for another address
    ├── NotAllowed           403  the role can't do that to this member
    ├── LastOwner            409  an organization keeps at least one owner
    ├── AlreadyMember        409
    ├── NameTaken            409  another project of the organization is called so
    ├── TooMany              409  keys, invitations or organizations
    ├── ConfirmationMissing  400  the name typed to confirm is another
    ├── ProjectArchived      409  keys can't come into it
    ├── UnknownScope         400  a key's scope that isn't in the table
    └── ScopeMissing         403  the giver of a scope, or the caller of an operation, hasn't got it
"""

from __future__ import annotations

from tokia.errors import TokiaError


class AccountsError(TokiaError):
    code = "accounts_error"
    status = 400


class InvalidTaxId(AccountsError):
    code = "invalid_tax_id"


class UnknownCity(AccountsError):
    code = "unknown_city"


class InvitationGone(AccountsError):
    code = "invitation_gone"
    status = 404


class NotAllowed(AccountsError):
    code = "not_allowed"
    status = 403


class LastOwner(AccountsError):
    code = "last_owner"
    status = 409


class AlreadyMember(AccountsError):
    code = "already_member"
    status = 409


class NameTaken(AccountsError):
    code = "name_taken"
    status = 409


class TooMany(AccountsError):
    code = "too_many"
    status = 409


class ConfirmationMissing(AccountsError):
    code = "confirmation_missing"


class ProjectArchived(AccountsError):
    code = "project_archived"
    status = 409


class UnknownScope(AccountsError):
    code = "unknown_scope"


class ScopeMissing(AccountsError):
    code = "scope_missing"
    status = 403
