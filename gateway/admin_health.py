"""How deployments are doing, in the admin's lists: circuits, first token and failures of the last minutes; and who may be kept out
or let in by hand."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action

from billing.admin_parts import may_change
from gateway.circuit_reports import CircuitState, close_circuit, force_circuit, lift_force, read_circuits
from gateway.circuit_rules import CLOSED, HALF_OPEN, OPEN
from gateway.models import Credential, Deployment, Provider
from gateway.vitals_reports import MINUTE, VitalsRow, read_vitals
from tokia import clock
from tokia.errors import TokiaError

RECENT = dt.timedelta(minutes=5)
FORCED_SECONDS = 600
STATES = {CLOSED: "Fechado", HALF_OPEN: "Em teste", OPEN: "Aberto"}
REASONS = {"outage": "fora do ar", "rate_limit": "limite", "credential": "credencial recusada"}
COLOURS = {
    CLOSED: "text-green-700 dark:text-green-400", HALF_OPEN: "text-orange-700 dark:text-orange-400",
    OPEN: "text-red-700 dark:text-red-400",
}  # fmt: skip


class HealthAdmin(ModelAdmin):  # type: ignore[misc]
    """Reads circuits and vitals once per page. Whoever inherits says whose they are."""

    deployments_of: Callable[[Any], list[Deployment]]  # of a row of its list
    vitals_of: Callable[[Any], VitalsRow | None]
    _vitals: Mapping[tuple[str, str], VitalsRow] = {}
    _circuits: Mapping[tuple[int, int], CircuitState] = {}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
        self._read()
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        self._read()
        response: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
        return response

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> Sequence[str]:
        fields: Sequence[str] = super().get_readonly_fields(request, obj)
        return fields if obj is None else [*fields, "circuit", "first_token", "failures"]

    def _read(self) -> None:
        self._vitals = {(row.provider_slug, row.route_name): row for row in read_vitals(since=clock.now() - RECENT, span=MINUTE)}
        self._circuits = read_circuits()

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return may_change(request, self)

    @admin.display(description="circuito")
    def circuit(self, row: object) -> SafeString | str:
        """The states of all circuits of a row, alike ones together; with words, since colour alone says nothing."""
        ids = {deployment.pk for deployment in self.deployments_of(row)}
        found = [circuit for (deployment_id, _), circuit in self._circuits.items() if deployment_id in ids]
        told: dict[tuple[str, str], int] = defaultdict(int)
        for circuit in found:
            told[circuit.state, tell_circuit(circuit)] += 1
        if not told:
            return "Fechado"
        lines = [(COLOURS[state], f"{count}× {words}" if len(told) > 1 else words) for (state, words), count in told.items()]
        return format_html_join("", '<span class="block {}">{}</span>', lines)

    @admin.display(description="1º token p50 / p95 (5 min)")
    def first_token(self, row: object) -> str:
        vitals = self.vitals_of(row)
        if vitals is None or not vitals.first_token_p50_ms:
            return "—"
        return f"{_seconds(vitals.first_token_p50_ms)} / {_seconds(vitals.first_token_p95_ms)}"

    @admin.display(description="falhas (5 min)")
    def failures(self, row: object) -> str:
        vitals = self.vitals_of(row)
        if vitals is None or vitals.uptime is None:
            return "—"
        asked = vitals.succeeded + vitals.failed
        percent = f"{100 * vitals.failed / asked:.1f}".replace(".", ",").removesuffix(",0")
        return f"{percent}% de {asked}"

    @action(description="Abrir circuito por 10 min", permissions=["repair"])  # type: ignore[untyped-decorator]
    def open_circuits(self, request: HttpRequest, rows: QuerySet[Provider] | QuerySet[Deployment]) -> None:
        """Asked only where nobody else is left."""
        self._change(request, rows, OPEN)

    @action(description="Fechar circuito agora", permissions=["repair"])  # type: ignore[untyped-decorator]
    def close_circuits(self, request: HttpRequest, rows: QuerySet[Provider] | QuerySet[Deployment]) -> None:
        """Asked as usual from now on; what is measured afterwards may open it again."""
        self._change(request, rows, CLOSED)

    def _change(self, request: HttpRequest, rows: Iterable[Provider | Deployment], state: str) -> None:
        changed = 0
        try:
            for row in rows:
                done = 0
                for deployment_id, credential_id in circuits_of(self.deployments_of(row)):
                    if state == OPEN:
                        force_circuit(deployment_id, credential_id, OPEN, FORCED_SECONDS)
                    else:
                        lift_force(deployment_id, credential_id)
                        close_circuit(deployment_id, credential_id)
                    done += 1
                changed += done
                self.log_change(request, row, "Circuito aberto por 10 min" if state == OPEN else "Circuito fechado à mão")
        except TokiaError as refusal:
            messages.error(request, refusal.message)
            return
        words = "abertos por 10 minutos" if state == OPEN else "fechados"
        messages.success(request, f"Circuitos {words}: {changed}. Vale em todos os processos em um segundo.")


def circuits_of(deployments: Iterable[Deployment]) -> list[tuple[int, int]]:
    """Of our own credentials: one circuit for each deployment with each of them."""
    found = list(deployments)
    credentials: dict[int, list[int]] = defaultdict(list)
    rows = Credential.objects.filter(provider__in={deployment.provider_id for deployment in found}, is_active=True)
    for provider_id, id_ in rows.values_list("provider_id", "pk"):
        credentials[provider_id].append(id_)
    return [(deployment.pk, id_) for deployment in found for id_ in credentials[deployment.provider_id]]


def tell_circuit(circuit: CircuitState) -> str:
    """`Aberto (fora do ar, 12 s)`, `Aberto à mão (9 min)`."""
    if circuit.forced:
        return f"{STATES[circuit.forced]} à mão ({_rest(circuit.forced_seconds_left)})"
    if circuit.state == CLOSED:
        return STATES[CLOSED]
    parts = [REASONS.get(circuit.reason, circuit.reason)]
    if circuit.seconds_left > 0:
        parts.append(_rest(circuit.seconds_left))
    return f"{STATES[circuit.state]} ({', '.join(filter(None, parts))})"


def _seconds(ms: int) -> str:
    return f"{ms}\u00a0ms" if ms < 1_000 else f"{ms / 1000:.2f}\u00a0s".replace(".", ",")


def _rest(seconds: float) -> str:
    """Of a pause: `12 s`, `9 min`."""
    return f"{round(seconds)}\u00a0s" if seconds < 120 else f"{round(seconds / 60)}\u00a0min"
