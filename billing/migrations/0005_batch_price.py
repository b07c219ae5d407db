"""Calls of a batch cost a part of the price. Versions that were published before promised none, so theirs is the whole of it."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0004_media_usage"),
    ]

    operations = [
        migrations.AddField(
            model_name="price",
            name="batch_percent",
            field=models.PositiveSmallIntegerField(default=100, verbose_name="em lote (%)"),
        ),
        migrations.AlterField(
            model_name="price",
            name="batch_percent",
            field=models.PositiveSmallIntegerField(default=75, verbose_name="em lote (%)"),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(condition=models.Q(("batch_percent__range", (1, 100))), name="price_batch_percent_a_part"),
        ),
    ]
