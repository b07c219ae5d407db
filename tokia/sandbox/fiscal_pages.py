"""`/fiscal/` on the plain HTTP port: the tax office as a person sees it, in Portuguese, and the control's door (`__…`)."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from html import escape

from tokia.sandbox import pages
from tokia.sandbox.asgi import Request, Response, html_response, redirect
from tokia.sandbox.fiscal_books import SAO_PAULO, FiscalBooks, Note
from tokia.sandbox.fiscal_control import FiscalControl
from tokia.sandbox.fiscal_xml import unpack

LISTED_MAX = 100
KEY = r"[0-9A-Z]{50}"
STATUS_LABELS = {"issued": "Autorizada", "cancelled": "Cancelada", "replaced": "Substituída"}
EVENT_LABELS = {"101101": "Cancelamento", "105102": "Cancelamento por substituição"}
REASONS = (("1", "Erro na emissão"), ("2", "Serviço não prestado"), ("9", "Outros"))


@dataclass
class FiscalPages:
    books: FiscalBooks
    control: FiscalControl

    def serve(self, request: Request) -> Response:
        path = request.path.removeprefix("/fiscal").strip("/")
        if path.startswith("__"):
            return self.control.serve(request, path)
        if path == "":
            return html_response(self._list_page())
        match = re.fullmatch(rf"nota/({KEY})(?:/(xml|cancelar|evento/([0-9]{{6}})))?", path)
        note = self.books.notes.get(match[1]) if match else None
        if match is None or note is None:
            return html_response(_problem_page("Nota não encontrada."), status=404)
        if match[2] == "xml":
            return _xml(note["xml"], name=note["access_key"])
        if match[3]:
            event = self.books.events.get((note["access_key"], match[3], 1))
            return _xml(event["xml"], name=f"{match[3]}-{note['access_key']}") if event else _not_found("Evento não encontrado.")
        if match[2] == "cancelar" and request.method == "POST":
            return self._cancel_by_form(request, note)
        return html_response(self._note_page(note))

    def _list_page(self) -> str:
        newest = list(self.books.notes.values())[::-1][:LISTED_MAX]
        body = [
            "<h1>Emissor nacional do sandbox</h1>",
            '<p class="notice">Notas sem valor fiscal: nada aqui sai desta máquina.</p>',
            "".join(_card(note) for note in newest)
            or '<p class="soft">Nenhuma nota emitida ainda. As notas que a Tokia emitir aparecem aqui.</p>',
        ]
        if len(self.books.notes) > LISTED_MAX:
            body.append(f'<p class="soft">As {LISTED_MAX} mais novas, de {len(self.books.notes)}.</p>')
        return pages.page(title="Notas fiscais", body="".join(body), refresh_seconds=10)

    def _note_page(self, note: Note) -> str:
        key = note["access_key"]
        status = escape(STATUS_LABELS[note["status"]])
        facts = (
            ("Situação", status),
            ("Competência", f"{dt.date.fromisoformat(note['competence_on']):%d/%m/%Y}"),
            ("Emitida em", _local_time(note["issued_at"])),
            ("Ambiente", "Produção" if note["environment"] == 1 else "Produção restrita"),
            ("Prestador", escape(note["tax_id"])),
            (
                "Tomador",
                escape(" ".join(part for part in (note["taker_name"], note["taker_tax_id"]) if part) or "não identificado"),
            ),
            ("Serviço", escape(note["description"])),
            ("Chave de acesso", key),
            ("DPS", escape(note["dps_id"])),
        )
        rows = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts)
        if note["replaces"]:
            rows += f'<dt>Substitui</dt><dd><a href="/fiscal/nota/{note["replaces"]}">{note["replaces"]}</a></dd>'
        body = [
            f"<h1>NFS-e nº {note['number']}</h1>",
            f'<div class="card"><div class="value">{pages.reais(note["amount"])}</div><dl>{rows}</dl>'
            f'<p><a href="/fiscal/nota/{key}/xml">Baixar o XML</a></p></div>',
        ]
        for event in self.books.events_of(key):
            where = " · feito no portal nacional" if event["is_elsewhere"] else ""
            body.append(
                f'<div class="card"><strong>{EVENT_LABELS.get(event["type"], event["type"])}</strong>'
                f'<div class="soft">{_local_time(event["at"])}{where}</div><p>{escape(event["reason"] or "Sem motivo escrito")}</p>'
                f'<p><a href="/fiscal/nota/{key}/evento/{event["type"]}">Baixar o XML do evento</a></p></div>'
            )
        if note["status"] == "issued":
            options = "".join(f'<option value="{code}">{text}</option>' for code, text in REASONS)
            body.append(
                f'<details class="card"><summary>Cancelar pelo portal nacional</summary><form method="post" '
                f'action="/fiscal/nota/{key}/cancelar"><label for="codigo">Motivo</label><select id="codigo" name="codigo">'
                f'{options}</select><label for="motivo">Descrição (de 15 a 255 caracteres)</label>'
                '<input id="motivo" name="motivo" minlength="15" maxlength="255" required size="40"><p>'
                '<button class="button" type="submit">Cancelar esta nota</button></p></form>'
                '<p class="soft">Como se alguém a cancelasse fora da Tokia, que deve perceber sozinha.</p></details>'
            )
        body.append('<p><a href="/fiscal/">Voltar às notas</a></p>')
        return pages.page(title=f"NFS-e {note['number']}", body="".join(body))

    def _cancel_by_form(self, request: Request, note: Note) -> Response:
        try:
            self.control.cancel_elsewhere(
                note["access_key"], code=request.form.get("codigo", ""), reason=request.form.get("motivo", "").strip()
            )
        except ValueError:
            text = "Só uma nota autorizada pode ser cancelada, com um motivo de 15 a 255 caracteres."
            return html_response(_problem_page(text), status=400)
        return redirect(f"/fiscal/nota/{note['access_key']}")


def _card(note: Note) -> str:
    taker = escape(note["taker_name"] or note["taker_tax_id"] or "Tomador não identificado")
    return (
        f'<div class="card row"><div><div class="value">{pages.reais(note["amount"])}</div>'
        f'<div class="soft">nº {note["number"]} · {taker} · {_local_time(note["issued_at"])}</div></div>'
        f'<div>{STATUS_LABELS[note["status"]]}<br><a href="/fiscal/nota/{note["access_key"]}">Ver</a> · '
        f'<a href="/fiscal/nota/{note["access_key"]}/xml">XML</a></div></div>'
    )


def _xml(packed: str, *, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}.xml"', "x-content-type-options": "nosniff"}
    return Response(body=unpack(packed), content_type="application/xml; charset=utf-8", headers=headers)


def _not_found(text: str) -> Response:
    return html_response(_problem_page(text), status=404)


def _problem_page(text: str) -> str:
    body = f'<h1>Não deu certo</h1><p>{escape(text)}</p><p><a href="/fiscal/">Voltar às notas</a></p>'
    return pages.page(title="Não deu certo", body=body)


def _local_time(moment: str) -> str:
    return f"{dt.datetime.fromisoformat(moment).astimezone(SAO_PAULO):%d/%m/%Y %H:%M}"
