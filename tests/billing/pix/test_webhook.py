"""The bank's door: who may speak, what leaves a row, and how little a flood costs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from billing.models import PixNotice
from billing.pix import webhook

pytestmark = pytest.mark.django_db

PIX: dict[str, Any] = {
    "endToEndId": "E12345678202611221437abcdef12345", "txid": "tk" + "0f" * 16, "valor": "150.00", "chave": "7d9f",
    "horario": "2026-11-22T14:37:05.123Z", "infoPagador": "", "componentesValor": {"original": {"valor": "150.00"}},
}  # fmt: skip
REFUND = {"id": "r1", "rtrId": "D1", "valor": "50.00", "natureza": "ORIGINAL", "status": "DEVOLVIDO"}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    seen: list[int] = []
    monkeypatch.setattr(webhook, "_hurry", seen.append)
    yield seen


def tell(body: object, *, secret: str = "", suffix: str = "/pix", **headers: str) -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"/webhooks/pix/{secret or settings.PSP_WEBHOOK_SECRET}{suffix}"
    answer = Client(enforce_csrf_checks=True).post(url, raw, content_type="application/json", headers=headers)
    return answer.status_code


@pytest.mark.parametrize("suffix", ["/pix", ""])
def test_it_keeps_each_pix_once_and_hurries_it_once(
    suffix: str, hurried: list[int], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(5):
            assert tell({"pix": [PIX, {**PIX, "endToEndId": "E" + "2" * 31}]}, suffix=suffix) == 200
    assert sorted(PixNotice.objects.values_list("deliveries", flat=True)) == [5, 5]
    assert sorted(hurried) == sorted(PixNotice.objects.values_list("pk", flat=True))


def test_what_it_does_not_know_changes_nothing(hurried: list[int]) -> None:
    tell({"pix": [PIX]})
    tell({"pix": [{**PIX, "gnExtras": {"tarifa": 1.19}, "infoPagador": "outro texto"}], "extra": 1})
    assert PixNotice.objects.get().deliveries == 2


@pytest.mark.parametrize("told", [REFUND, [REFUND]])
def test_a_refund_is_another_notice_as_object_or_array(told: object, hurried: list[int]) -> None:
    tell({"pix": [PIX]})
    tell({"pix": [{**PIX, "devolucoes": told}]})
    assert PixNotice.objects.count() == 2


def test_object_and_array_are_the_same_notice() -> None:
    assert webhook.digest_of({**PIX, "devolucoes": REFUND}) == webhook.digest_of({**PIX, "devolucoes": [REFUND]})


def test_a_stranger_leaves_no_row(hurried: list[int], settings: Settings) -> None:
    assert tell({"pix": [PIX]}, secret="wrong") == 404
    assert tell({"pix": [PIX]}, secret=settings.PSP_WEBHOOK_SECRET[:-1]) == 404
    assert tell({"pix": [PIX]}, secret="é") == 404
    settings.PSP_WEBHOOK_VERIFY_HEADER = "X-SSL-Client-Verify"
    assert tell({"pix": [PIX]}) == 404
    assert tell({"pix": [PIX]}, **{"X-SSL-Client-Verify": "FAILED"}) == 404
    assert not PixNotice.objects.exists() and not hurried
    assert tell({"pix": [PIX]}, **{"X-SSL-Client-Verify": "SUCCESS"}) == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"{", b'{"pix": []}', b'{"pix": {}}', b'{"pix": [1]}', b'{"pix": [{"endToEndId": "E1"}]}',
        b'{"pix": [{"a": NaN}]}', b"\xff\xfe", b'{"pix": ' + b"[" * 30_000,
        json.dumps({"pix": [{**PIX, "valor": 150.0}]}).encode(), json.dumps({"pix": [{**PIX, "infoPagador": "\0"}]}).encode(),
        json.dumps({"pix": [PIX] * 201}).encode()[:65_000],
    ],
)  # fmt: skip
def test_what_is_no_notice_is_refused_without_a_row(body: bytes, hurried: list[int]) -> None:
    assert tell(body) == 400
    assert not PixNotice.objects.exists()


def test_a_large_body_is_refused(hurried: list[int]) -> None:
    assert tell({"pix": [PIX], "x": "y" * 70_000}) == 413
    assert not PixNotice.objects.exists()


def test_a_bad_pix_among_good_ones_is_kept_for_a_person(hurried: list[int]) -> None:
    assert tell({"pix": [PIX, {"endToEndId": 7, "valor": "x"}]}) == 200
    bad = PixNotice.objects.get(end_to_end_id="")
    assert bad.status == PixNotice.Status.DONE and "Malformado" in bad.last_error
    assert PixNotice.objects.get(status=PixNotice.Status.DUE).end_to_end_id == PIX["endToEndId"]


def test_only_post_is_answered() -> None:
    assert Client().get(f"/webhooks/pix/{settings.PSP_WEBHOOK_SECRET}/pix").status_code == 405


def test_it_answers_200_without_a_broker(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    may_go, tried = threading.Event(), threading.Event()

    def down(*args: object, **kwargs: object) -> None:
        may_go.wait(20)
        tried.set()
        raise ConnectionError("no broker")

    monkeypatch.setattr("celery.app.base.Celery.send_task", down)
    with django_capture_on_commit_callbacks(execute=True):
        assert tell({"pix": [PIX]}) == 200
    assert not tried.is_set(), "nobody waits for the broker"
    assert PixNotice.objects.get().status == PixNotice.Status.DUE
    may_go.set()
    assert tried.wait(20)
