"""`/api/v1/members` and `/api/v1/invitations`: who works in the organization. The rules are those of `accounts.members`."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts import members
from accounts.models import Invitation, Membership, Role
from accounts.operations import STEPS, ApiCall, Resource, operation
from tokia import clock
from tokia.manners import PageQuery, Shape, page_of, page_shape

TAG = "Equipe"


class MemberAnswer(Shape):
    id = serializers.IntegerField(help_text="O id do membro.")
    user_id = serializers.IntegerField(help_text="O id da pessoa: o de `created_by_id` e dos orçamentos por pessoa.")
    name = serializers.CharField(source="user.name")
    email = serializers.EmailField(source="user.email")
    role = serializers.ChoiceField(choices=Role.choices)
    last_seen_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    example = {
        "id": 5, "user_id": 3, "name": "Alice Souza", "email": "alice@acme.com.br", "role": "owner",
        "last_seen_at": "2026-11-22T12:00:00Z", "created_at": "2026-11-01T12:00:00Z",
    }  # fmt: skip


class RoleBody(Shape):
    role = serializers.ChoiceField(choices=Role.choices)
    example = {"role": "developer"}


class RemovalQuery(Shape):
    revoke_keys = serializers.BooleanField(required=False, default=False, help_text="Revoga também as chaves que a pessoa criou.")


class InvitationBody(Shape):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Role.choices)
    example = {"email": "bia@acme.com.br", "role": "developer"}


class InvitationAnswer(Shape):
    id = serializers.IntegerField()
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    example: Any = {
        "id": 9, "email": "bia@acme.com.br", "role": "developer", "created_at": "2026-11-22T12:00:00Z",
        "expires_at": "2026-11-29T12:00:00Z",
    }  # fmt: skip


class InvitationSentAnswer(InvitationAnswer):
    is_mailed = serializers.BooleanField(help_text="Se o e-mail saiu; se não, convide de novo daqui a pouco.")
    example = InvitationAnswer.example | {"is_mailed": True}


class MembersResource(Resource):
    @operation(
        "list_members", scope="members.read", tag=TAG, summary="Listar membros", text="Do mais novo ao mais antigo.",
        query=PageQuery, answer=page_shape(MemberAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        return page_of(Membership.objects.select_related("user"), call.query)


class MemberResource(Resource):
    @operation(
        "change_member_role", scope="members.write", tag=TAG, summary="Mudar o papel de um membro",
        text="Só um dono mexe em donos, e a empresa fica sempre com pelo menos um.",
        body=RoleBody, answer=MemberAnswer, problems=(404, 409),
    )  # fmt: skip
    def patch(self, call: ApiCall, member_id: int) -> Any:
        membership = _find(member_id)
        if "role" in call.body:
            members.change_role(call.caller.membership, membership=membership, role=call.body["role"])
        return _find(member_id)

    @operation(
        "remove_member", scope="members.write", tag=TAG, summary="Remover um membro", status=204,
        text="As chaves que a pessoa criou continuam servindo chamadas, mas não administram mais nada; com"
        " `revoke_keys=true`, param.",
        query=RemovalQuery, problems=(404, 409),
    )  # fmt: skip
    def delete(self, call: ApiCall, member_id: int) -> None:
        members.remove(call.caller.membership, membership=_find(member_id), revoke_keys=call.query["revoke_keys"])


class InvitationsResource(Resource):
    @operation(
        "list_invitations", scope="members.read", tag=TAG, summary="Listar convites em aberto",
        text="Do mais novo ao mais antigo; os aceitos, cancelados e vencidos não aparecem.",
        query=PageQuery, answer=page_shape(InvitationAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        return page_of(_open(), call.query)

    @operation(
        "invite_member", scope="members.write", tag=TAG, summary="Convidar", status=201,
        text="Manda o convite por e-mail; vale 7 dias. Convidar de novo o mesmo endereço troca o convite.",
        body=InvitationBody, answer=InvitationSentAnswer, creates=STEPS,
    )  # fmt: skip
    def post(self, call: ApiCall) -> Any:
        invitation, token = members.invite(call.caller.membership, email=call.body["email"], role=call.body["role"])
        try:
            members.send_invitation(invitation, token=token)
        except OSError:  # SMTP's errors are OSErrors
            invitation.is_mailed = False  # type: ignore[attr-defined]  # for this answer only
        else:
            invitation.is_mailed = True  # type: ignore[attr-defined]
        return invitation


class InvitationResource(Resource):
    @operation(
        "cancel_invitation", scope="members.write", tag=TAG, summary="Cancelar um convite", status=204,
        text="O link do e-mail deixa de valer.", problems=(404,),
    )  # fmt: skip
    def delete(self, call: ApiCall, invitation_id: int) -> None:
        members.cancel_invitation(get_object_or_404(_open(), pk=invitation_id))


def _find(member_id: int) -> Membership:
    return get_object_or_404(Membership.objects.select_related("user"), pk=member_id)


def _open() -> Any:
    return Invitation.objects.filter(accepted_at=None, cancelled_at=None, expires_at__gt=clock.now())
