"""Who is who: people, their organizations, and the keys with which programs call.

Nouns: User, Organization, Membership (role), Invitation, Project, ApiKey, LimitProfile, SnapshotVersion, IdempotentRequest.
Verbs: `signup.open_organization`, `members.invite/accept/change_role/remove`, `projects.create_project/archive_project`,
`keys.mint_key/change_key/rotate_key/revoke_key`, `scopes.check_scopes`.
The management API (`/api/v1`): `operations` what an operation is, `authentication` who calls, `throttle`, `idempotency`, `api*.py`
the doors; its manners are in `tokia.manners`.
Isolation: `tenancy.tenant(organization)`; a query on a tenant's table outside of it raises.
May be called by every floor above; calls nobody but the ground.
"""
