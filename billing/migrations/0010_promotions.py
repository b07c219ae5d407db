"""Refunds by customers, coupons, welcome credit, referrals."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0009_cards")]
    operations = []
