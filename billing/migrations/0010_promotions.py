"""Coupons, welcome, referrals; refunds that are due are found by an index."""

import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

from billing.sql import read_sql

# Who got what is why nobody gets it twice. Counters of a coupon are updated in place.
APPEND_ONLY = """
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['billing_couponredemption', 'billing_welcomegrant'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_deny()', name);
    EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_deny()', name);
  END LOOP;
END $$;
ALTER TABLE billing_coupon SET (fillfactor = 70);
"""
OPEN_AGAIN = """
DROP TRIGGER append_only ON billing_couponredemption;
DROP TRIGGER no_truncate ON billing_couponredemption;
DROP TRIGGER append_only ON billing_welcomegrant;
DROP TRIGGER no_truncate ON billing_welcomegrant;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0006_projects_and_limits'),
        ('billing', '0009_cards'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='CodeGuess',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('guessed_at', models.DateTimeField(db_index=True, verbose_name='em')),
            ],
            options={
                'verbose_name': 'código errado',
                'verbose_name_plural': 'códigos errados',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Coupon',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.CharField(max_length=30, unique=True, verbose_name='código')),
                ('amount_nanos', models.BigIntegerField(verbose_name='valor')),
                ('spend_within_days', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='gastar em (dias)')),
                ('valid_until', models.DateTimeField(blank=True, null=True, verbose_name='resgatar até')),
                ('redemptions_max', models.PositiveIntegerField(blank=True, null=True, verbose_name='resgates no máximo')),
                ('redeemed', models.PositiveIntegerField(default=0, verbose_name='resgates')),
                ('is_for_new_only', models.BooleanField(default=False, verbose_name='só para novas empresas')),
                ('is_active', models.BooleanField(default=True, verbose_name='em vigor')),
                ('reason', models.CharField(max_length=300, verbose_name='motivo')),
                ('created_by', models.CharField(max_length=150, verbose_name='criado por')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
            ],
            options={
                'verbose_name': 'cupom',
                'verbose_name_plural': 'cupons',
            },
        ),
        migrations.CreateModel(
            name='CouponRedemption',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('redeemed_by', models.CharField(max_length=150, verbose_name='resgatado por')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='em')),
            ],
            options={
                'verbose_name': 'resgate de cupom',
                'verbose_name_plural': 'resgates de cupons',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='PromotionRules',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('welcome_is_on', models.BooleanField(default=False, verbose_name='bônus de boas-vindas')),
                ('welcome_nanos', models.BigIntegerField(default=10000000000, verbose_name='valor de boas-vindas')),
                ('welcome_days', models.PositiveSmallIntegerField(default=30, verbose_name='boas-vindas: gastar em (dias)')),
                ('welcome_since', models.DateTimeField(blank=True, null=True, verbose_name='boas-vindas desde')),
                ('referral_is_on', models.BooleanField(default=False, verbose_name='indicações')),
                ('referral_nanos', models.BigIntegerField(default=25000000000, verbose_name='valor da indicação, para cada lado')),
                ('referral_days', models.PositiveSmallIntegerField(default=60, verbose_name='indicação: gastar em (dias)')),
                ('referral_top_up_min_nanos', models.BigIntegerField(default=50000000000, verbose_name='recarga mínima da indicada')),
                ('referral_wait_days', models.PositiveSmallIntegerField(default=0, verbose_name='esperar (dias) depois da recarga')),
                ('referral_monthly_max', models.PositiveSmallIntegerField(default=10, verbose_name='indicações pagas por mês, por empresa')),
                ('changed_by', models.CharField(blank=True, max_length=150, verbose_name='mudadas por')),
                ('changed_at', models.DateTimeField(blank=True, null=True, verbose_name='mudadas em')),
            ],
            options={
                'verbose_name': 'regras de promoção',
                'verbose_name_plural': 'regras de promoção',
            },
        ),
        migrations.CreateModel(
            name='Referral',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('status', models.CharField(choices=[('pending', 'Aguardando a primeira recarga'), ('rewarded', 'Bônus creditado'), ('refused', 'Não vale')], default='pending', max_length=8, verbose_name='situação')),
                ('reason', models.CharField(blank=True, max_length=200, verbose_name='motivo')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='em')),
                ('decided_at', models.DateTimeField(blank=True, null=True, verbose_name='decidida em')),
            ],
            options={
                'verbose_name': 'indicação',
                'verbose_name_plural': 'indicações',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='ReferralCode',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.CharField(max_length=12, unique=True, verbose_name='código')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
            ],
            options={
                'verbose_name': 'código de indicação',
                'verbose_name_plural': 'códigos de indicação',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='WelcomeGrant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tax_id', models.CharField(max_length=14, unique=True, verbose_name='CNPJ ou CPF')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='em')),
            ],
            options={
                'verbose_name': 'bônus de boas-vindas',
                'verbose_name_plural': 'bônus de boas-vindas',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddIndex(
            model_name='refund',
            index=models.Index(condition=models.Q(('status__in', ('held', 'processing'))), fields=['status', 'asked_at'], name='refund_due'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('card_payment__isnull', False), models.Q(('end_to_end_id', ''), _negated=True), _connector='OR'), name='refund_of_a_pix_names_it'),
        ),
        migrations.AddField(
            model_name='codeguess',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddField(
            model_name='codeguess',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='usuário'),
        ),
        migrations.AddConstraint(
            model_name='coupon',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nanos__gt', 0)), name='coupon_amount_positive'),
        ),
        migrations.AddConstraint(
            model_name='coupon',
            constraint=models.CheckConstraint(condition=models.Q(('code__regex', '^[A-Z0-9][A-Z0-9-]{2,29}$')), name='coupon_code_in_capitals'),
        ),
        migrations.AddConstraint(
            model_name='coupon',
            constraint=models.CheckConstraint(condition=models.Q(('redemptions_max__isnull', True), ('redeemed__lte', models.F('redemptions_max')), _connector='OR'), name='coupon_within_its_limit'),
        ),
        migrations.AddField(
            model_name='couponredemption',
            name='coupon',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='redemptions', to='billing.coupon', verbose_name='cupom'),
        ),
        migrations.AddField(
            model_name='couponredemption',
            name='entry',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgerentry', verbose_name='lançamento'),
        ),
        migrations.AddField(
            model_name='couponredemption',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='coupons', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddConstraint(
            model_name='promotionrules',
            constraint=models.CheckConstraint(condition=models.Q(('id', 1)), name='promotion_rules_are_one_row'),
        ),
        migrations.AddConstraint(
            model_name='promotionrules',
            constraint=models.CheckConstraint(condition=models.Q(('welcome_nanos__gt', 0), ('referral_nanos__gt', 0), ('referral_top_up_min_nanos__gt', 0)), name='promotion_amounts_positive'),
        ),
        migrations.AddConstraint(
            model_name='promotionrules',
            constraint=models.CheckConstraint(condition=models.Q(('welcome_days__gt', 0), ('referral_days__gt', 0)), name='promotion_days_positive'),
        ),
        migrations.AddField(
            model_name='referral',
            name='referred',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='referred_by', to='accounts.organization', verbose_name='indicada'),
        ),
        migrations.AddField(
            model_name='referral',
            name='referred_entry',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgerentry', verbose_name='bônus da indicada'),
        ),
        migrations.AddField(
            model_name='referral',
            name='referrer',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='referrals', to='accounts.organization', verbose_name='quem indicou'),
        ),
        migrations.AddField(
            model_name='referral',
            name='referrer_entry',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgerentry', verbose_name='bônus de quem indicou'),
        ),
        migrations.AddField(
            model_name='referralcode',
            name='organization',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='referral_code', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddField(
            model_name='welcomegrant',
            name='entry',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgerentry', verbose_name='lançamento'),
        ),
        migrations.AddField(
            model_name='welcomegrant',
            name='organization',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='welcome', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddConstraint(
            model_name='couponredemption',
            constraint=models.UniqueConstraint(fields=('coupon', 'organization'), name='coupon_once_per_organization'),
        ),
        migrations.AddIndex(
            model_name='referral',
            index=models.Index(fields=['referrer', 'decided_at'], name='referral_by_referrer'),
        ),
        migrations.AddConstraint(
            model_name='referral',
            constraint=models.CheckConstraint(condition=models.Q(('referrer', models.F('referred')), _negated=True), name='referral_of_another'),
        ),
        migrations.AddConstraint(
            model_name='referral',
            constraint=models.CheckConstraint(condition=models.Q(('status', 'rewarded'), ('referred_entry__isnull', True), _connector='XOR'), name='referral_rewarded_with_its_entry'),
        ),
        migrations.RunSQL(APPEND_ONLY, OPEN_AGAIN),
        # A grant behind one that never ends never ends: it could not be used before.
        migrations.RunSQL(read_sql("entries"), migrations.RunSQL.noop),
    ]
