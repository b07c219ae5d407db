"""How the machine does: what `/readyz` says and more, for the admin's page of health. Every check is one bounded question and never
raises: what does not answer is down.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, connection
from redis import Redis
from redis.exceptions import RedisError

from billing.models import ExchangeRate, GatewaySession, PriceVersion
from gateway.models import Provider
from invoices import attention as notes
from tokia import clock
from tokia.cache import ForgivingCache
from tokia.status_measure import open_circuits
from tokia.status_report import read_report
from tokia.templatetags.tokia import num

OK, WARNING, DOWN, UNKNOWN = "ok", "warning", "down", "unknown"
WORDS = {OK: "Normal", WARNING: "Atenção", DOWN: "Fora do ar", UNKNOWN: "Não se sabe"}
QUEUE = "celery"  # Celery's default list in Valkey
QUEUE_LATE, QUEUE_STUCK = dt.timedelta(seconds=30), dt.timedelta(minutes=3)
BEAT_LATE, BEAT_GONE = dt.timedelta(minutes=2), dt.timedelta(minutes=5)  # it leaves a mark each half minute
DISK_LOW, DISK_FULL = 15, 5  # percent free
CERTIFICATE_DAYS, CERTIFICATE_DAYS_URGENT = 30, 5
BACKUP_LATE = dt.timedelta(hours=26)  # a daily one
ANSWER_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: str
    detail: str
    since: dt.datetime | None = None
    url: str = ""

    @property
    def word(self) -> str:
        return WORDS[self.state]


def checks() -> list[Check]:
    """Everything, as the page shows it."""
    asked: tuple[Callable[[], Check], ...] = (
        _database, _valkey, _gateways, _rate, _prices, _providers, _bank_certificate, _note_certificate, _disk, _backup, _version,
    )  # fmt: skip
    return [*(_answer(ask) for ask in asked[:2]), *task_checks(), *(_answer(ask) for ask in asked[2:])]


def task_checks() -> list[Check]:
    """The queue of tasks and who feeds it: for the page, and for the badge on every page."""
    return [_answer(_queue), _answer(_beat)]


def is_well(found: Iterable[Check]) -> bool:
    return all(check.state in (OK, UNKNOWN) for check in found)


def _answer(ask: Callable[[], Check]) -> Check:
    try:
        return ask()
    except (DatabaseError, RedisError, OSError, ValueError) as error:
        return Check(ask.__name__.strip("_"), DOWN, f"Não respondeu ({type(error).__name__}).")


# ── Stores ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _database() -> Check:
    began = time.perf_counter()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('server_version'), pg_size_pretty(pg_database_size(current_database())),"
                " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),"
                " current_setting('max_connections')::int"
            )
            version, size, used, most = cursor.fetchone()
    except DatabaseError as error:
        return Check("PostgreSQL", DOWN, f"Não respondeu ({type(error).__name__}).")
    took_ms = round((time.perf_counter() - began) * 1000)
    state = WARNING if used * 10 > most * 8 else OK
    return Check("PostgreSQL", state, f"Versão {version.split()[0]}, {size}, {used} de {most} conexões, respondeu em {took_ms} ms.")


def _valkey() -> Check:
    if not cast(ForgivingCache, caches["default"]).ping():
        return Check("Valkey", DOWN, "Não responde: filas e limites compartilhados esperam; nenhum dinheiro se perde.")
    memory: Any = _broker().info("memory")
    return Check("Valkey", OK, f"Responde; usa {_tell_mebibytes(memory.get('used_memory'))} de memória.")


@lru_cache(maxsize=1)
def _broker() -> Redis:
    return Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _queue() -> Check:
    """How many tasks wait, and since when the oldest does (`tokia.celery` writes when each was sent)."""
    name = "Fila de tarefas"
    try:
        with _broker().pipeline() as pipeline:
            pipeline.llen(QUEUE)
            pipeline.lindex(QUEUE, -1)
            length, oldest = pipeline.execute()
    except (RedisError, OSError) as error:
        return Check(name, DOWN, f"O Valkey não respondeu ({type(error).__name__}).")
    if not length:
        return Check(name, OK, "Vazia: ninguém espera.")
    since = _sent_at(oldest)
    age = clock.now() - since if since else None
    told = f"{length} {'tarefa espera' if length == 1 else 'tarefas esperam'}"
    if age is None:
        return Check(name, WARNING if length > 1_000 else OK, f"{told}.")
    state = DOWN if age > QUEUE_STUCK else WARNING if age > QUEUE_LATE else OK
    return Check(name, state, f"{told}; a mais antiga há {tell_age(age)}.", since)


def _sent_at(message: Any) -> dt.datetime | None:
    try:
        stamp = json.loads(message)["headers"]["sent_at"]
        return dt.datetime.fromtimestamp(float(stamp), dt.UTC)
    except (ValueError, TypeError, KeyError):
        return None


def _beat() -> Check:
    """By what the clockwork makes each half minute: the report of `/status/`. It passes beat, the queue and a worker."""
    name = "Relógio das tarefas (beat) e worker"
    report = read_report()
    if report is None:
        return Check(name, UNKNOWN, "Ainda não deixou sinal desde que o sistema começou.")
    since = dt.datetime.fromisoformat(report["measured_at"])
    age = clock.now() - since
    state = DOWN if age > BEAT_GONE else WARNING if age > BEAT_LATE else OK
    return Check(name, state, f"Último sinal há {tell_age(age)}.", since if state != OK else None)


# ── Service ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _gateways() -> Check:
    live = GatewaySession.objects.filter(state=GatewaySession.State.LIVE, expires_at__gt=clock.now()).count()
    told = f"{live} {'processo atende' if live == 1 else 'processos atendem'} as chamadas."
    return Check("Gateway", OK if live else DOWN, told if live else "Nenhum processo atende as chamadas.")


def _rate() -> Check:
    newest = ExchangeRate.objects.order_by("-quoted_at").values_list("quoted_at", flat=True).first()
    url = "/admin/billing/exchangerate/"
    if newest is None:
        return Check("Câmbio", DOWN, "Nenhuma cotação ainda: preços não são publicados.", url=url)
    age = clock.now() - newest
    state = DOWN if age > dt.timedelta(days=settings.EXCHANGE_RATE_MAX_AGE_DAYS) else OK
    return Check("Câmbio", state, f"Cotação de {newest.astimezone(clock.SAO_PAULO):%d/%m/%Y}, há {tell_age(age)}.", url=url)


def _prices() -> Check:
    published = PriceVersion.objects.filter(status=PriceVersion.Status.PUBLISHED, effective_at__lte=clock.now()).exists()
    told = "Há preços em vigor." if published else "Nenhuma versão de preços em vigor: nada é vendido."
    return Check("Preços", OK if published else DOWN, told, url="/admin/billing/priceversion/")


def _providers() -> Check:
    slugs = open_circuits()
    total = Provider.objects.filter(is_active=True).count()
    url = "/admin/gateway/provider/"
    if not slugs:
        return Check("Provedores", OK, f"Nenhum dos {total} está fora do ar.", url=url)
    return Check("Provedores", WARNING, f"Fora do ar: {', '.join(sorted(slugs))}. As chamadas seguem por outros.", url=url)


# ── What ends, fills up or is forgotten ──────────────────────────────────────────────────────────────────────────────
def _bank_certificate() -> Check:
    name, path = "Certificado do banco (PIX)", Path(settings.PSP_CERT_FILE or "")
    if not settings.PSP_CERT_FILE or not path.is_file():
        return Check(name, UNKNOWN, "Sem arquivo de certificado configurado.")
    ends_at = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    days = (ends_at - clock.now()).days
    state = DOWN if days < CERTIFICATE_DAYS_URGENT else WARNING if days <= CERTIFICATE_DAYS else OK
    told = f"Vence em {ends_at.astimezone(clock.SAO_PAULO):%d/%m/%Y}, em {num(days)} {'dia' if days == 1 else 'dias'}."
    return Check(name, state, told if days >= 0 else f"Venceu em {ends_at:%d/%m/%Y}.")


def _note_certificate() -> Check:
    alarm = notes.certificate_alarm()
    return Check(
        "Certificado das notas fiscais", WARNING if alarm else OK, f"{alarm}." if alarm else "Nada vence nos próximos 30 dias.",
        url="/admin/invoices/certificate/",
    )  # fmt: skip


def _disk() -> Check:
    usage = shutil.disk_usage(settings.TOKIA_HOME)
    free = usage.free * 100 // usage.total
    state = DOWN if free < DISK_FULL else WARNING if free < DISK_LOW else OK
    return Check("Disco", state, f"{free}% livres: {usage.free // 2**30} GiB de {usage.total // 2**30} GiB.")


def _backup() -> Check:
    """By the file that the backup's own script touches when it is done (BACKUP_STAMP_FILE)."""
    name = "Cópia de segurança"
    if not settings.BACKUP_STAMP_FILE:
        return Check(name, UNKNOWN, "Ninguém diz quando foi a última: configure BACKUP_STAMP_FILE.")
    stamp = Path(settings.BACKUP_STAMP_FILE)
    if not stamp.exists():
        return Check(name, DOWN, "Nenhuma foi feita ainda.")
    since = dt.datetime.fromtimestamp(stamp.stat().st_mtime, dt.UTC)
    age = clock.now() - since
    return Check(name, DOWN if age > BACKUP_LATE else OK, f"A última terminou há {tell_age(age)}.", since)


def _version() -> Check:
    return Check("Versão", OK, f"Commit {commit()[:12]}." if commit() else "Não se sabe de que commit é: configure COMMIT.")


@lru_cache(maxsize=1)
def commit() -> str:
    """Of what runs: as the deployment said, else the checkout's."""
    if settings.COMMIT:
        return str(settings.COMMIT)
    git = settings.BASE_DIR / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        return (git / head.removeprefix("ref: ")).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _tell_mebibytes(count: int | None) -> str:
    """`1,7 MiB`, of bytes."""
    return "?" if count is None else f"{count / 2**20:.1f} MiB".replace(".", ",")


def tell_age(age: dt.timedelta) -> str:
    """`40 s`, `12 min`, `5 h`, `3 dias`."""
    seconds = max(0, int(age.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7_200:
        return f"{seconds // 60} min"
    return f"{seconds // 3_600} h" if seconds < 172_800 else f"{seconds // 86_400} dias"
