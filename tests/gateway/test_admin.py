"""The admin over the catalog: every page opens, and a provider's key is written but never read."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from gateway.models import Credential, Provider
from gateway.secrets import decrypt
from tests.make import make_provider, make_route

MODELS = ["provider", "credential", "route", "deployment"]


@pytest.fixture
def staff(db: None) -> Client:
    user = User.objects.create(email="root@example.com.br", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("model", MODELS)
def test_it_opens_lists_searches_and_forms(staff: Client, model: str) -> None:
    provider = make_provider(slug="openai")
    route = make_route(name="openai/gpt-x", provider=provider)
    objects = {
        "provider": provider, "credential": provider.credentials.get(), "route": route, "deployment": route.deployments.get()
    }  # fmt: skip
    changelist = reverse(f"admin:gateway_{model}_changelist")
    for url in (
        changelist, f"{changelist}?q=openai", reverse(f"admin:gateway_{model}_add"),
        reverse(f"admin:gateway_{model}_change", args=[objects[model].pk]),
    ):  # fmt: skip
        page = staff.get(url)
        assert page.status_code == 200, url
        assert "sandbox-openai" not in page.content.decode()


def test_it_takes_a_new_key_and_never_shows_it(staff: Client) -> None:
    provider = make_provider(slug="openai")
    url = reverse("admin:gateway_credential_add")
    secret = "sk-real-0123456789abcdef"
    posted = staff.post(url, {"provider": provider.pk, "label": "nova", "new_secret": secret, "is_active": "on"})
    assert posted.status_code == 302
    credential = Credential.objects.get(label="nova")
    assert decrypt(bytes(credential.secret)) == secret
    assert credential.last4 == "cdef"
    change = reverse("admin:gateway_credential_change", args=[credential.pk])
    page = staff.get(change).content.decode()
    assert secret not in page
    assert "cdef" in page
    kept = staff.post(change, {"provider": provider.pk, "label": "mesma", "new_secret": "", "is_active": "on"})
    assert kept.status_code == 302
    credential.refresh_from_db()
    assert (credential.label, decrypt(bytes(credential.secret))) == ("mesma", secret)
    empty = staff.post(url, {"provider": provider.pk, "label": "vazia", "new_secret": "", "is_active": "on"})
    assert empty.status_code == 200
    assert not Credential.objects.filter(label="vazia").exists()


def test_it_edits_a_provider_with_its_keys(staff: Client) -> None:
    provider = make_provider(slug="openai")
    credential = provider.credentials.get()
    data = {
        "slug": "openai", "name": "OpenAI", "dialect": "openai", "base_url": "https://api.openai.com/v1", "country": "US",
        "is_active": "on", "credentials-TOTAL_FORMS": "1", "credentials-INITIAL_FORMS": "1", "credentials-0-id": credential.pk,
        "credentials-0-provider": provider.pk, "credentials-0-label": "a", "credentials-0-new_secret": "sk-another-key-9999",
        "credentials-0-is_active": "on", "deployments-TOTAL_FORMS": "0", "deployments-INITIAL_FORMS": "0",
    }  # fmt: skip
    posted = staff.post(reverse("admin:gateway_provider_change", args=[provider.pk]), data)
    assert posted.status_code == 302, posted.content.decode()[:2000]
    credential.refresh_from_db()
    assert decrypt(bytes(credential.secret)) == "sk-another-key-9999"
    assert Provider.objects.get().base_url == "https://api.openai.com/v1"
