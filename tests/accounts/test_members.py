from __future__ import annotations

import datetime as dt
import re

import pytest
from django.core import mail
from django.test import Client

from accounts import members
from accounts.errors import AlreadyMember, InvitationGone, LastOwner, NotAllowed, TooMany
from accounts.keys import mint_key
from accounts.models import ApiKey, Invitation, Membership, Role, User
from tests.cast import Cast, make_cast
from tests.make import make_user
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def place_of(user: User) -> Membership:
    return Membership.everywhere.select_related("organization", "user").get(user=user)


def test_it_invites_by_a_link_that_only_its_address_can_use(cast: Cast) -> None:
    guest, other = make_user(email="Dora@Acme.com.br"), make_user()
    invitation, token = members.invite(place_of(cast.alice), email=" dora@acme.com.br ", role=Role.FINANCE)
    assert token not in str(Invitation.everywhere.values().get())
    members.send_invitation(invitation, token=token)
    assert mail.outbox[0].to == ["dora@acme.com.br"]
    assert f"/app/convite/{token}/" in mail.outbox[0].body
    with pytest.raises(InvitationGone):
        members.accept(other, token=token)
    membership = members.accept(guest, token=token)
    assert (membership.organization, membership.role) == (cast.acme, Role.FINANCE)
    with pytest.raises(InvitationGone):
        members.accept(guest, token=token)


def test_it_forgets_expired_cancelled_and_replaced_invitations(cast: Cast) -> None:
    alice = place_of(cast.alice)
    _, old_token = members.invite(alice, email="dora@acme.com.br", role=Role.FINANCE)
    _, token = members.invite(alice, email="dora@acme.com.br", role=Role.DEVELOPER)
    with pytest.raises(InvitationGone):
        members.find_invitation(old_token)
    invitation = members.find_invitation(token)
    Invitation.everywhere.filter(pk=invitation.pk).update(expires_at=clock.now() - dt.timedelta(seconds=1))
    with pytest.raises(InvitationGone):
        members.find_invitation(token)
    third, token = members.invite(alice, email="dora@acme.com.br", role=Role.DEVELOPER)
    members.cancel_invitation(third)
    with pytest.raises(InvitationGone):
        members.find_invitation(token)
    with pytest.raises(InvitationGone):
        members.find_invitation("made-up")


def test_it_invites_nobody_twice_and_not_without_end(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = place_of(cast.alice)
    with pytest.raises(AlreadyMember):
        members.invite(alice, email="BOB@acme.com.br", role=Role.ADMIN)
    monkeypatch.setattr(members, "OPEN_INVITATIONS_MAX", 1)
    members.invite(alice, email="um@acme.com.br", role=Role.ADMIN)
    with pytest.raises(TooMany):
        members.invite(alice, email="dois@acme.com.br", role=Role.ADMIN)


def test_it_keeps_an_owner(cast: Cast) -> None:
    alice = place_of(cast.alice)
    with pytest.raises(LastOwner):
        members.change_role(alice, membership=alice, role=Role.ADMIN)
    with pytest.raises(LastOwner):
        members.remove(alice, membership=alice, revoke_keys=False)
    members.change_role(alice, membership=place_of(cast.bob), role=Role.OWNER)
    members.change_role(alice, membership=alice, role=Role.ADMIN)
    assert place_of(cast.alice).role == Role.ADMIN


def test_it_lets_no_administrator_touch_or_make_owners(cast: Cast) -> None:
    Membership.everywhere.filter(user=cast.bob).update(role=Role.ADMIN)
    bob = place_of(cast.bob)
    with pytest.raises(NotAllowed):
        members.change_role(bob, membership=place_of(cast.alice), role=Role.FINANCE)
    with pytest.raises(NotAllowed):
        members.change_role(bob, membership=bob, role=Role.OWNER)
    with pytest.raises(NotAllowed):
        members.remove(bob, membership=place_of(cast.alice), revoke_keys=False)
    with pytest.raises(NotAllowed):
        members.invite(bob, email="x@acme.com.br", role=Role.OWNER)
    members.remove(bob, membership=place_of(cast.carol), revoke_keys=False)


def test_it_asks_the_database_for_the_role_of_who_acts(cast: Cast) -> None:
    alice = place_of(cast.alice)
    Membership.everywhere.filter(user=cast.alice).update(role=Role.DEVELOPER)
    with pytest.raises(NotAllowed):
        members.remove(alice, membership=place_of(cast.carol), revoke_keys=False)


def test_it_touches_no_member_of_another_organization(cast: Cast) -> None:
    with pytest.raises(Membership.DoesNotExist):
        members.remove(place_of(cast.alice), membership=place_of(cast.charlie), revoke_keys=True)


@pytest.mark.parametrize("revoke_keys", [True, False])
def test_it_revokes_the_keys_of_who_leaves_only_if_asked(cast: Cast, revoke_keys: bool) -> None:
    mint_key(cast.acme, user=cast.bob, name="de bob")
    mint_key(cast.acme, user=cast.alice, name="de alice")
    members.remove(place_of(cast.alice), membership=place_of(cast.bob), revoke_keys=revoke_keys)
    status = dict(ApiKey.everywhere.values_list("name", "status"))
    assert status == {"de bob": "revoked" if revoke_keys else "active", "de alice": "active"}


def test_it_passes_the_keys_of_who_leaves_to_somebody_else(cast: Cast, client: Client) -> None:
    """Those that only call; what manages acts in its maker's name, and ends with them."""
    mint_key(cast.acme, user=cast.bob, name="chama")
    mint_key(cast.acme, user=cast.bob, name="administra", scopes=["call", "usage.read"])
    bob = place_of(cast.bob)
    client.force_login(cast.alice)
    form = {"typed": cast.bob.email, "keys": "transfer"}
    for heir in ("", str(bob.pk), str(place_of(cast.charlie).pk)):  # nobody, themselves, a stranger
        client.post(f"/app/equipe/{bob.pk}/remover/", form | {"heir": heir})
        assert Membership.everywhere.filter(pk=bob.pk).exists()
    client.post(f"/app/equipe/{bob.pk}/remover/", form | {"heir": str(place_of(cast.carol).pk)})
    assert not Membership.everywhere.filter(pk=bob.pk).exists()
    calls, manages = ApiKey.everywhere.get(name="chama"), ApiKey.everywhere.get(name="administra")
    assert (calls.status, calls.created_by) == ("active", cast.carol)
    assert (manages.status, manages.created_by) == ("revoked", cast.bob)


def test_it_invites_several_at_once_or_nobody(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    page = client.post("/app/equipe/", {"emails": "dora@acme.com.br, nada", "role": "developer"}).content.decode()
    assert "“nada” não é um e-mail" in page and not mail.outbox
    client.post("/app/equipe/", {"emails": "Dora@acme.com.br, eva@acme.com.br\ndora@acme.com.br", "role": "finance"})
    assert sorted(message.to[0] for message in mail.outbox) == ["dora@acme.com.br", "eva@acme.com.br"]
    page = client.get("/app/equipe/").content.decode()
    assert "Duas etapas" in page and "Desligada" in page


def test_it_works_in_the_organization_that_was_chosen(cast: Cast, client: Client) -> None:
    Membership.everywhere.create(organization=cast.globex, user=cast.alice, role=Role.FINANCE)
    client.force_login(cast.alice)
    assert client.get("/app/equipe/").status_code == 200
    client.post("/app/empresas/trocar/", {"organization": str(cast.globex.pk)})
    assert client.get("/app/equipe/").status_code == 403  # finance there
    assert "Globex" in client.get("/app/").content.decode()
    Membership.everywhere.filter(user=cast.alice, organization=cast.globex).delete()
    assert client.get("/app/equipe/").status_code == 200  # back to what she has


def test_it_walks_from_invitation_to_member(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    client.post("/app/equipe/", {"emails": "dora@acme.com.br", "role": "developer"})
    found = re.search(r"/app/convite/([\w-]+)/", str(mail.outbox[0].body))
    assert found
    address = found[0]
    client.logout()
    assert "Criar conta e aceitar" in client.get(address).content.decode()
    assert client.post(address).status_code == 200  # a stranger accepts nothing
    client.force_login(cast.charlie)
    assert client.post(address).status_code == 404
    client.force_login(make_user(email="dora@acme.com.br"))
    assert client.post(address)["Location"] == "/app/"
    assert Membership.everywhere.filter(organization=cast.acme, user__email="dora@acme.com.br", role=Role.DEVELOPER).exists()
    assert client.get(address).status_code == 404


def test_it_brings_a_guest_who_signs_up_back_to_the_invitation(cast: Cast, client: Client) -> None:
    _, token = members.invite(place_of(cast.alice), email="dora@acme.com.br", role=Role.FINANCE)
    form = {"email": "dora@acme.com.br", "password1": "uma frase bem comprida", "terms": "on", "next": f"/app/convite/{token}/"}
    client.post("/conta/cadastro/", form)
    code = re.search(r"^(\d{6})$", str(mail.outbox[-1].body), re.MULTILINE)
    assert code
    assert client.post("/conta/confirmar-email/", {"code": code[1]})["Location"] == f"/app/convite/{token}/"
    assert "Aceitar convite" in client.get(f"/app/convite/{token}/").content.decode()
