"""Mails of events: who reads them, what they say, and that none is lost or sent twice."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.locmem import EmailBackend
from django.urls import is_valid_path

from accounts.models import Organization
from billing import event_mails
from billing.alert_choices import ChoiceRefused, change_choice, choice_of, readers_of, set_low_balance
from billing.event_mails import ATTEMPTS_MAX, claim, send_due
from billing.event_texts import tell_event
from billing.events import LEVELS, tell
from billing.models import Event, EventMail
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.make import make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
ALICE, BOB, CAROL = "alice@acme.com.br", "bob@acme.com.br", "carol@acme.com.br"


@pytest.fixture(autouse=True)
def clock_as_it_is() -> Iterator[None]:
    yield
    clock.shift(0)


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def told(organization: Organization, type: str = "wallet.low_balance", **payload: Any) -> Event:
    event = tell(organization, type, reference=f"{type}:{clock.new_id()}", payload=payload)
    assert event is not None
    return event


def newest() -> tuple[EmailMultiAlternatives, str, str]:
    """The first message with its HTML and that part's type."""
    message = mail.outbox[0]
    assert isinstance(message, EmailMultiAlternatives)
    html, kind = message.alternatives[0]
    return message, str(html), str(kind)


def reached() -> list[str]:
    return sorted(address for message in mail.outbox for address in message.to)


def choose(organization: Organization, **changes: Any) -> None:
    choice = choice_of(organization)
    given = {"roles": choice.roles, "extra_emails": choice.extra_emails, "muted_kinds": choice.muted_kinds, "watches_unusual": True}
    change_choice(organization, **{**given, **changes})


# ── Who ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_owners_administrators_and_finance_read_each_by_themselves(cast: Cast) -> None:
    told(cast.acme, available="18.40", threshold="20.00")
    assert send_due() == 1 and send_due() == 0
    assert reached() == [ALICE, CAROL] and all(len(message.to) == 1 for message in mail.outbox)
    event = Event.everywhere.get()
    assert event.mailed_at is not None and event.mail_due_at is None


def test_choices_name_the_readers(cast: Cast) -> None:
    choose(cast.acme, roles=["finance"], extra_emails=["erp@acme.com.br", "ERP@acme.com.br", CAROL.upper()])
    assert sorted(email.lower() for email in readers_of(cast.acme, kind="balance")) == [CAROL, "erp@acme.com.br"]
    choose(cast.acme, muted_kinds=["balance", "organization"])
    assert readers_of(cast.acme, kind="balance") == []
    assert readers_of(cast.acme, kind="organization"), "a suspension is always told"
    cast.carol.is_active = False
    cast.carol.save()
    assert readers_of(cast.acme, kind="budgets") == ["ERP@acme.com.br", CAROL.upper()]


def test_choices_that_reach_nobody_or_nowhere_are_refused(cast: Cast) -> None:
    many = [f"a{number}@b.com" for number in range(6)]
    refused: list[dict[str, Any]] = [{"roles": [], "extra_emails": []}, {"extra_emails": ["nada"]}, {"extra_emails": many}]
    for changes in refused:
        with pytest.raises(ChoiceRefused):
            choose(cast.acme, **changes)
    choose(cast.acme, roles=["developer", "owner"])
    assert choice_of(cast.acme).roles == ["owner"], "a developer's place has no money in it"
    with pytest.raises(ChoiceRefused):
        set_low_balance(make_wallet(organization=cast.acme), -BRL)


def test_a_kind_turned_off_sends_nothing_and_waits_for_nothing(cast: Cast) -> None:
    choose(cast.acme, muted_kinds=["balance"])
    told(cast.acme)
    assert send_due() == 1 and mail.outbox == []
    assert Event.everywhere.filter(mail_due_at=None, mailed_at=None).exists()


def test_a_fact_that_is_not_mailed_or_not_yet_is_left(cast: Cast) -> None:
    tell(cast.acme, "prices.changed", reference="a", payload={}, is_mailed=False)
    tell(cast.acme, "wallet.empty", reference="b", payload={}, mail_at=clock.now() + event_mails.LEASE)
    assert send_due() == 0


# ── What ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_mail_says_it_in_plain_text_and_html(cast: Cast) -> None:
    told(cast.acme, available="1018.40", threshold="2000.00")
    send_due()
    message, html, kind = newest()
    assert message.subject == "Tokia: saldo baixo (R$ 1.018,40)".replace("R$ ", "R$\u00a0").replace("\u00a0", " ")
    for text in (str(message.body), html):
        assert "R$\u00a01.018,40" in text and "R$\u00a02.000,00" in text and "Acme" in text
        assert "/app/recarregar/" in text and "/app/configuracoes/avisos/" in text
    assert kind == "text/html" and "<h1 " in html
    assert message.extra_headers["Auto-Submitted"] == "auto-generated"


def test_what_a_customer_named_is_escaped_and_breaks_no_header(cast: Cast) -> None:
    Organization.objects.filter(pk=cast.acme.pk).update(name="<b>Acme & Cia</b>")
    payload = {"scope": "tag", "subject": "<script>\r\nBcc: eve@evil.com", "window": "day", "percent": 80}
    told(Organization.objects.get(pk=cast.acme.pk), "budget.threshold", **payload)
    send_due()
    message, html, _ = newest()
    assert "\n" not in message.subject and "\r" not in message.subject
    assert message.message()["Bcc"] is None
    assert "<script>" not in html and "&lt;b&gt;Acme &amp; Cia" in html
    assert "<b>Acme & Cia</b>" in str(message.body)


def test_every_link_of_a_mail_leads_somewhere() -> None:
    for type in LEVELS:
        payload = {"off_path": "/app/recarregar/", "confirm_path": "/app/recarregar/"}  # some carry a path of their own
        assert is_valid_path(tell_event(Event(type=type, payload=payload)).url), type


# ── Once, and never lost ─────────────────────────────────────────────────────────────────────────────────────────────
class Refusing(EmailBackend):
    """An SMTP server that does not take some addresses."""

    refused: set[str] = set()

    def send_messages(self, email_messages: Any) -> int:
        for message in email_messages:
            if self.refused & set(message.to):
                raise smtplib.SMTPRecipientsRefused({message.to[0]: (450, b"later")})
        return super().send_messages(email_messages)


def test_a_retry_leaves_out_who_has_got_it(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_mails, "get_connection", Refusing)
    monkeypatch.setattr(Refusing, "refused", {ALICE})
    told(cast.acme)
    assert send_due() == 1 and reached() == [CAROL]
    event = Event.everywhere.get()
    assert event.mailed_at is None and event.mail_due_at is not None and event.mail_attempts == 1
    assert send_due() == 0, "not before its time"
    monkeypatch.setattr(Refusing, "refused", set())
    clock.shift(61)
    assert send_due() == 1 and reached() == [ALICE, CAROL]
    assert Event.everywhere.get().mailed_at is not None


def test_a_server_that_is_away_is_tried_again_until_it_is_given_up(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(EmailBackend):
        def open(self) -> bool:
            raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(event_mails, "get_connection", Away)
    told(cast.acme)
    shifted = 0.0
    for attempt in range(1, ATTEMPTS_MAX + 1):
        assert send_due() == 1
        event = Event.everywhere.get()
        assert event.mail_attempts == attempt
        if event.mail_due_at is not None:
            shifted += (event.mail_due_at - clock.now()).total_seconds() + 1
            clock.shift(shifted)
    assert event.mail_due_at is None and event.mailed_at is None and mail.outbox == [] and send_due() == 0


def test_a_worker_that_died_is_followed_by_another_with_the_same_message_id(cast: Cast) -> None:
    event = told(cast.acme)
    [claimed] = claim()
    event_mails._hand_over(claimed, [ALICE], reached=set(), connection=mail.get_connection())
    EventMail.everywhere.all().delete()  # it died before the row
    assert send_due() == 0, "leased"
    clock.shift(event_mails.LEASE.total_seconds() + 1)
    assert send_due() == 1 and reached() == [ALICE, ALICE, CAROL]
    ids = [message.extra_headers["Message-ID"] for message in mail.outbox if message.to == [ALICE]]
    assert ids[0] == ids[1] and len({message.extra_headers["Message-ID"] for message in mail.outbox}) == 2
    assert ids[0].startswith(f"<event-{event.pk}-")


def test_organizations_read_their_own(cast: Cast) -> None:
    told(cast.globex)
    send_due()
    assert reached() == ["charlie@globex.com.br"]
