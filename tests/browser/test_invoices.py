"""Notas fiscais in Chromium: the data for a note by CEP, the list, one note, its files, by e-mail again."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.conftest import ROOT, Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
# A note of this company as the tax office would have authorized it, and one that waits for an address.
SEED = """
import django
django.setup()
from accounts.models import Membership, Organization
from invoices.models import Invoice
from tests.invoices.papers import make_line, make_note
organization = Membership.everywhere.get(user__email="nota@exemplo.com.br").organization
note = make_note(organization, delivery="none", delivery_due_at=None)
make_line(note)
make_note(organization, status=Invoice.Status.CANCELLED, delivery="none", delivery_due_at=None)
print(note.pk, note.nfse_number)
"""


def open_company(stack: Stack) -> None:
    """A company of its own: other tests look at the demo's."""
    code = (
        "import django\ndjango.setup()\n"
        "from accounts.models import Membership, Organization, User\nfrom allauth.account.models import EmailAddress\n"
        "user = User.objects.create_user('nota@exemplo.com.br', 'correct horse battery staple')\n"
        "EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)\n"
        "organization = Organization.objects.create(name='Padaria Pão & Nota Ltda', tax_id='45997418000153')\n"
        "Membership.everywhere.create(organization=organization, user=user, role='owner')\n"
    )
    run(stack, code)


def run(stack: Stack, code: str) -> str:
    env = {**os.environ, **stack.env, "DJANGO_SETTINGS_MODULE": "tokia.settings"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_finance_completes_the_address_by_its_cep_and_reads_a_note(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    open_company(stack)
    visitor = visit(stack.demo["web_url"])
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill("nota@exemplo.com.br")
    page.locator("input[name=password]").fill("correct horse battery staple")
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/app/")
    page.get_by_role("link", name="Notas fiscais").first.click()
    expect(page.get_by_text("As notas aparecem aqui depois do primeiro mês com consumo.")).to_be_visible()
    expect(page.get_by_text("Para emitir a nota falta")).to_be_visible()
    visitor.shoot("invoices-empty")
    page.get_by_role("link", name="Completar").last.click()
    page.locator("#id_number").fill("1578")
    page.locator("#id_postal_code").press_sequentially("01310100")
    expect(page.locator("#id_street")).to_have_value("Avenida Paulista")
    expect(page.locator("#id_city")).to_have_value("São Paulo")
    expect(page.locator("#id_number")).to_have_value("1578")
    page.locator("#id_city").fill("Sao Palo")
    page.get_by_role("button", name="Salvar dados").click()
    expect(page.get_by_text("Você quis dizer Sao Paulo?")).to_be_visible()
    visitor.shoot("invoices-organization")
    page.locator("#id_city").fill("São Paulo")
    page.get_by_role("button", name="Salvar dados").click()
    expect(page.get_by_text("Dados da empresa salvos.")).to_be_visible()
    page.get_by_role("link", name="E-mail da contabilidade e retenções").click()
    page.get_by_label("E-mail da contabilidade").fill("contador@exemplo.com.br")
    page.get_by_role("button", name="Salvar").click()
    expect(page.get_by_text("Dados para notas salvos.")).to_be_visible()
    visitor.shoot("invoices-data")
    number = run(stack, SEED).split()[1]
    page.get_by_role("link", name="Notas fiscais").first.click()
    expect(page.get_by_text("1 nota autorizada")).to_be_visible()
    visitor.shoot("invoices-list")
    with page.expect_download() as archive:
        page.get_by_role("link", name="Baixar tudo de novembro (.zip)").click()
    assert f"nota-{number}.pdf" in zipfile.ZipFile(archive.value.path()).namelist()
    page.get_by_role("link", name=number, exact=True).click()
    with page.expect_download() as pdf:
        page.get_by_role("link", name="PDF").click()
    assert pdf.value.path().read_bytes().startswith(b"%PDF")
    page.get_by_role("button", name="Enviar por e-mail").click()
    expect(page.get_by_text("A nota vai por e-mail para nota@exemplo.com.br e contador@exemplo.com.br")).to_be_visible()
    mailed = page.get_by_text("Nota por e-mail para contador@exemplo.com.br.")
    for _ in range(30):
        page.reload()
        if mailed.count():
            break
        page.wait_for_timeout(1_000)
    expect(mailed).to_be_visible()
    visitor.shoot("invoices-note")
