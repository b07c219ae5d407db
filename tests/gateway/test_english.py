"""Pages of the gateway for whoever reads English: own keys, experiments, the playground and what its scripts say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import translation

from accounts.models import User
from gateway import experiments
from gateway.credential_health import REASONS, tell_reason
from gateway.experiment_verdicts import verdicts
from gateway.experiments import ArmDraft, ExperimentRefused
from gateway.models import OwnKey, OwnKeyHealth
from gateway.own_keys import OwnKeyShare, in_words
from gateway.secrets import seal
from gateway.significance import Rate, Sample
from tests.cast import Cast, make_cast
from tests.gateway.test_experiment_results import side
from tests.home.test_english_public_pages import PORTUGUESE
from tests.home.test_pages import words
from tests.make import make_price, make_provider, make_route
from tokia import clock

NAMES = re.compile(r"Português|Brasília|\S+/\S+|\S+@\S+|Conta da firma")
SCRIPTS = Path(settings.BASE_DIR) / "tokia" / "static" / "tokia" / "playground"


@pytest.fixture
def cast(db: None) -> Cast:
    provider = make_provider(slug="acme-ai")
    for name in ("acme/small", "acme/large"):
        make_price(route=make_route(name=name, provider=provider, display_name=name.title()))
    return make_cast()


def reader(person: User) -> Client:
    client = Client()
    client.force_login(person)
    client.cookies["idioma"] = "en"
    return client


def told(client: Client, address: str) -> str:
    """The page's words; none of them Portuguese."""
    answer = client.get(address, follow=True)
    assert answer.status_code == 200, address
    page = " ".join(words(answer.content.decode()).split())
    left = PORTUGUESE.findall(NAMES.sub(" ", page))
    assert not left, (address, left, page)
    return page


def test_own_keys_speak_english(cast: Cast) -> None:
    provider = make_provider(slug="openai")
    for use, code in (("only", "401"), ("first", "")):
        kept = OwnKey.everywhere.create(
            organization=cast.acme, provider=provider if use == "only" else make_provider(slug="mistral"), label="Conta da firma",
            use=use, last4="abcd", secret=seal(b"sk-abcd", organization_id=cast.acme.pk), created_by=cast.alice,
        )  # fmt: skip
        now = clock.now()
        OwnKeyHealth.everywhere.create(
            own_key=kept, refused_at=now if code else None, refused_reason=tell_reason(code) if code else ""
        )
    client = reader(cast.alice)
    page = told(client, "/app/chaves-de-provedores/")
    for text in ("invalid or revoked key. Calls to this provider fail", "Use only this one", "Use as a backup", "Not checked yet"):
        assert text in page
    assert "charges only the platform fee" in page or "charges nothing" in page
    assert "Check and save" in told(client, "/app/chaves-de-provedores/nova/")
    answer = client.post(f"/app/chaves-de-provedores/{kept.pk}/uso/", {"use": "failover"}, follow=True).content.decode()
    assert "use as a backup. In effect within 2 seconds." in answer


def test_every_reason_of_a_refusal_and_every_fee_has_its_english() -> None:
    reasons = [*REASONS.values(), tell_reason("999")]
    assert [in_words(reason) for reason in reasons] == reasons
    fees = (OwnKeyShare(0, 0), OwnKeyShare(5, 5), OwnKeyShare(0, 5))
    assert [str(fee) for fee in fees] == [
        "sem taxa", "5% do preço de tabela", "de 0 a 5% do preço de tabela, conforme o modelo",
    ]  # fmt: skip
    with translation.override("en"):
        assert not any(PORTUGUESE.search(in_words(reason)) for reason in reasons)
        assert [str(fee) for fee in fees] == ["no fee", "5% of the list price", "0 to 5% of the list price, depending on the model"]


def test_an_experiment_speaks_english_from_its_form_to_its_refusal(cast: Cast) -> None:
    client = reader(cast.bob)
    assert "No experiments yet" in told(client, "/app/experimentos/")
    assert "Save draft" in told(client, "/app/experimentos/novo/")
    arms = [ArmDraft("acme/small", 50, "A"), ArmDraft("acme/large", 50, "B")]
    drafted = experiments.draft_experiment(cast.acme, name="Cheaper?", model="acme/small", arms=arms, by=cast.bob)
    page = told(client, f"/app/experimentos/{drafted.pk}/")
    assert "Draft: nothing is split yet" in page and "50 of 100" in page
    client.post(f"/app/experimentos/{drafted.pk}/iniciar/")
    page = told(client, f"/app/experimentos/{drafted.pk}/")
    assert "Experiment started. Calls are split within 2 seconds." in page and "are split since" in page
    again = client.post(f"/app/experimentos/{drafted.pk}/iniciar/", follow=True).content.decode()
    assert "It can’t be started: the experiment is already running." in again
    with pytest.raises(ExperimentRefused, match=r"Não dá para iniciar: o experimento já está em andamento\."):
        experiments.start_experiment(drafted)


def test_a_verdict_is_a_whole_sentence_in_both_languages() -> None:
    base = side("A", cost=Sample(400, 1e6, 1e10), errors=Rate(40, 400), feedback=Rate(90, 100))
    other = side("B", cost=Sample(400, 9.66e5, 1e10), errors=Rate(4, 400), feedback=Rate(50, 100))
    with translation.override("en"):
        found = verdicts([base, other])
    texts = [verdict.text for verdict in found]
    assert texts[0] == "B costs 3.4% less per call than A; the difference is more than chance would explain."
    assert texts[2].startswith("B fails less than A, by more than chance would explain: B fails between ")
    assert texts[3].startswith("B pleases less than A, beyond what chance would explain: ")
    assert not any(PORTUGUESE.search(text) for text in texts) and [verdict.kind for verdict in found] == [
        verdict.kind for verdict in verdicts([base, other])
    ]
    assert "3,4%" in verdicts([base, other])[0].text


def test_the_playground_speaks_english_and_its_scripts_have_all_their_words(cast: Cast) -> None:
    client = reader(cast.bob)
    page = client.get("/app/playground/").content.decode()
    assert "Compare with" in told(client, "/app/playground/")
    held = dict(re.findall(r'data-([a-z]+)="([^"]*)"', page.split('id="palavras"')[1].split("</div>")[0]))
    left = {name: text for name, text in held.items() if PORTUGUESE.search(text) or not text}
    assert not left and held["upto"] == "up to {amount}"
    scripts = "".join(path.read_text() for path in SCRIPTS.glob("*.js"))
    asked = set(re.findall(r'say\("(\w+)"', scripts)) | {"many", "one", "poor", "ask", "length", "filter"}
    assert asked == set(held)
    assert 'aria-label="Remove message"' in page
