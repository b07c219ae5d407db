from django.db import migrations, models

SUBJECTS = [
    ("pix", "PIX recebido"),
    ("pix_refund", "PIX devolvido"),
    ("card", "Pagamento na Stripe"),
    ("card_refund", "Devolução na Stripe"),
    ("dispute", "Contestação na Stripe"),
    ("provider", "Uso no provedor"),
    ("invariant", "Contas da Tokia"),
    ("document", "Notas fiscais"),
]


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_reconciliation")]

    operations = [
        migrations.AlterField("difference", "subject", models.CharField("assunto", max_length=11, choices=SUBJECTS)),
        migrations.AlterField("reconciliationrun", "subject", models.CharField("assunto", max_length=11, choices=SUBJECTS)),
    ]
