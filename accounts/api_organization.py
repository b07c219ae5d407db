"""`/api/v1/organization` and `/api/v1/caller`: whose the key is, and what the organization tells about itself."""

from __future__ import annotations

import re
from typing import Any

from rest_framework import serializers

from accounts.authentication import ApiCaller
from accounts.forms import ADDRESS, STATES
from accounts.models import Organization, Role
from accounts.operations import SIGNED_IN, ApiCall, Resource, operation
from accounts.scopes import SCOPES
from accounts.signup import Identity, identify
from tokia.manners import Shape, Text


class AddressShape(Shape):
    street = Text(required=False, allow_blank=True, max_length=ADDRESS["street"][1])
    number = Text(required=False, allow_blank=True, max_length=ADDRESS["number"][1])
    complement = Text(required=False, allow_blank=True, max_length=ADDRESS["complement"][1])
    district = Text(required=False, allow_blank=True, max_length=ADDRESS["district"][1])
    city = Text(required=False, allow_blank=True, max_length=ADDRESS["city"][1])
    state = serializers.ChoiceField(required=False, choices=["", *STATES], help_text="A sigla da UF.")
    postal_code = Text(required=False, allow_blank=True, max_length=9, help_text="Oito números, com ou sem hífen.")

    def validate_postal_code(self, typed: str) -> str:
        digits = re.sub(r"[-.\s]", "", typed)
        if digits and not re.fullmatch(r"\d{8}", digits, re.ASCII):
            raise serializers.ValidationError("O CEP tem 8 números.")
        return digits


class OrganizationBody(Shape):
    name = Text(required=False, max_length=150, help_text="Razão social ou nome completo.")
    trade_name = Text(required=False, allow_blank=True, max_length=150)
    tax_id = Text(required=False, allow_blank=True, max_length=18, help_text="CNPJ ou CPF, com ou sem pontuação.")
    tax_id_kind = serializers.ChoiceField(required=False, choices=Organization.TaxIdKind.choices)
    invoice_email = serializers.EmailField(required=False, allow_blank=True, help_text="Para onde vão as notas fiscais.")
    municipal_registration = Text(required=False, allow_blank=True, max_length=20)
    address = AddressShape(required=False, help_text="Só o que for mandado muda.")
    example = {"invoice_email": "fiscal@acme.com.br", "address": {"city": "São Paulo", "state": "SP", "postal_code": "01310-100"}}


class OrganizationAnswer(Shape):
    id = serializers.IntegerField()
    name = serializers.CharField()
    trade_name = serializers.CharField()
    tax_id = serializers.CharField(help_text="Sem pontuação; vazio enquanto não informado.")
    tax_id_kind = serializers.ChoiceField(choices=Organization.TaxIdKind.choices)
    invoice_email = serializers.CharField()
    municipal_registration = serializers.CharField()
    address = AddressShape()
    is_suspended = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    example = {
        "id": 7, "name": "Acme Tecnologia Ltda", "trade_name": "Acme", "tax_id": "11222333000181", "tax_id_kind": "cnpj",
        "invoice_email": "fiscal@acme.com.br", "municipal_registration": "", "is_suspended": False,
        "address": {"street": "Avenida Paulista", "number": "1000", "city": "São Paulo", "state": "SP", "postal_code": "01310100"},
        "created_at": "2026-11-01T12:00:00Z",
    }  # fmt: skip


class CallerAnswer(Shape):
    organization_id = serializers.IntegerField()
    key_id = serializers.IntegerField(allow_null=True, help_text="null numa sessão do painel.")
    key_name = serializers.CharField(allow_null=True)
    user_id = serializers.IntegerField(help_text="A pessoa em cujo nome a chave age.")
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices=Role.choices)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(SCOPES)),
        help_text="O que vale agora: as permissões da chave que o papel permite.",
    )
    example = {
        "organization_id": 7, "key_id": 12, "key_name": "terraform", "user_id": 3, "email": "alice@acme.com.br", "role": "owner",
        "scopes": ["keys.read", "keys.write"],
    }  # fmt: skip


class OrganizationResource(Resource):
    @operation(
        "get_organization", scope="organization.read", tag="Empresa", summary="Dados da empresa",
        text="O nome, o documento e o endereço que vão na nota fiscal.", answer=OrganizationAnswer,
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        return call.organization

    @operation(
        "change_organization", scope="organization.write", tag="Empresa", summary="Mudar dados da empresa",
        text="Só o que for mandado muda. O CNPJ ou CPF é conferido pelos dígitos.",
        body=OrganizationBody, answer=OrganizationAnswer,
    )  # fmt: skip
    def patch(self, call: ApiCall) -> Any:
        ours, asked = call.organization, call.body
        kept = {
            name: asked.get(name, getattr(ours, name))
            for name in ("name", "trade_name", "tax_id", "tax_id_kind", "invoice_email", "municipal_registration")
        }
        identify(ours, identity=Identity(**kept, address=ours.address | asked.get("address", {})))
        return ours


class CallerResource(Resource):
    @operation(
        "get_caller", scope=SIGNED_IN, tag="Empresa", summary="De quem é esta chave",
        text="A empresa, a chave, em nome de quem ela age e o que pode agora.", answer=CallerAnswer,
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        return tell_caller(call.caller)


def tell_caller(caller: ApiCaller) -> dict[str, Any]:
    return {
        "organization_id": caller.organization.pk,
        "key_id": caller.key.pk if caller.key else None,
        "key_name": caller.key.name if caller.key else None,
        "user_id": caller.user.pk,
        "email": caller.user.email,
        "role": caller.membership.role,
        "scopes": [name for name in SCOPES if name in caller.scopes],
    }
