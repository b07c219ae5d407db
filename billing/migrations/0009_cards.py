"""Cards and automatic top-ups."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0008_money_in_the_open")]
    operations = []
