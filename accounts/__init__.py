"""Who is who: people, their organizations, and the keys with which programs call.

Nouns: User, Organization, Membership (role), Invitation, ApiKey, LimitProfile, SnapshotVersion.
Verbs: `signup.open_organization`, `members.invite/accept/change_role/remove`, `keys.mint_key/verify_key/revoke_key`.
Isolation: `tenancy.tenant(organization)`; a query on a tenant's table outside of it raises.
May be called by every floor above; calls nobody but the ground.
"""
