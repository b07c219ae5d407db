"""A customer with a month behind it, in a process with the stack's environment: `python -m tests.walks.month_ago`.

The superuser's address comes on standard input: only a superuser may date the books back. Everything after that (closing, drafting,
issuing, mailing) is asked of the stack's own workers. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys

import django

CALLS = (("tokia/demo", 12_345_678_901), ("openai/gpt-4o-mini", 7_654_326_099))  # together R$ 20,000005: a note of R$ 20,00


def make_customer(superuser_url: str) -> dict[str, object]:
    import psycopg

    from accounts.models import Organization, Role
    from invoices.drafting import last_due_month
    from invoices.models import InvoicePolicy
    from tests.cast import PASSWORD, make_person
    from tests.invoices.cast import ADDRESS
    from tests.invoices.months import Past, moment
    from tokia import clock

    month = last_due_month()
    InvoicePolicy.objects.filter(starts_on__gt=month.first_on).update(starts_on=month.first_on)  # in January
    name = f"Mensal{clock.unix_ms()}"
    organization = Organization.objects.create(
        name=name, tax_id="45997418000153", address=ADDRESS, invoice_email=f"notas@{name.lower()}.com.br"
    )
    person = make_person("Dora", organization=organization, role=Role.OWNER)
    with Past(organization, since=month, other=psycopg.connect(superuser_url, autocommit=True)) as past:
        past.top_up("100", moment(month, 2))
        for route, nanos in CALLS:
            past.use(nanos, moment(month, 15), route=route)
    return {
        "organization": organization.pk, "email": person.email, "password": PASSWORD, "invoice_email": organization.invoice_email,
        "name": name, "month": f"{month.first_on:%Y-%m}",
    }  # fmt: skip


def work_now() -> None:
    """Ask the workers for what the timetable would ask them within the hour; as two beats do, twice."""
    from billing.tasks import close_months
    from invoices.tasks import draft_months

    for _ in range(2):
        close_months.delay()
        draft_months.apply_async(countdown=2)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
    django.setup()
    if sys.argv[1:] == ["work"]:
        work_now()
    else:
        print(json.dumps(make_customer(sys.stdin.read().strip())))
