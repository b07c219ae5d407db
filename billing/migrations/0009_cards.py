"""Cards at Stripe, automatic top-ups, disputes; refunds that go back to a card."""

import uuid

import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

# Rows that every delivery of the same event updates: room for updates in place.
ROOM = "ALTER TABLE billing_stripeevent SET (fillfactor = 70);"


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0006_projects_and_limits'),
        ('billing', '0008_money_in_the_open'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='AutoTopUp',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_on', models.BooleanField(default=False, verbose_name='ligada')),
                ('threshold_nanos', models.BigIntegerField(verbose_name='quando o saldo ficar abaixo de')),
                ('amount_nanos', models.BigIntegerField(verbose_name='valor de cada recarga')),
                ('day_max_nanos', models.BigIntegerField(verbose_name='máximo por dia')),
                ('month_max_nanos', models.BigIntegerField(verbose_name='máximo por mês')),
                ('failures', models.PositiveSmallIntegerField(default=0, verbose_name='falhas seguidas')),
                ('paused_reason', models.CharField(blank=True, max_length=200, verbose_name='desligada porque')),
                ('next_try_at', models.DateTimeField(blank=True, null=True, verbose_name='tenta de novo em')),
                ('changed_by', models.CharField(blank=True, max_length=150, verbose_name='mudada por')),
                ('changed_at', models.DateTimeField(auto_now=True, verbose_name='mudada em')),
            ],
            options={
                'verbose_name': 'recarga automática',
                'verbose_name_plural': 'recargas automáticas',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Card',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('stripe_id', models.CharField(max_length=64, unique=True, verbose_name='na Stripe')),
                ('brand', models.CharField(max_length=30, verbose_name='bandeira')),
                ('last4', models.CharField(max_length=4, verbose_name='final')),
                ('exp_month', models.PositiveSmallIntegerField(verbose_name='mês de validade')),
                ('exp_year', models.PositiveSmallIntegerField(verbose_name='ano de validade')),
                ('is_default', models.BooleanField(default=False, verbose_name='principal')),
                ('status', models.CharField(choices=[('active', 'Salvo'), ('removed', 'Removido')], default='active', max_length=7, verbose_name='situação')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='salvo em')),
                ('removed_at', models.DateTimeField(blank=True, null=True, verbose_name='removido em')),
            ],
            options={
                'verbose_name': 'cartão',
                'verbose_name_plural': 'cartões',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='CardHolder',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reference', models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='referência')),
                ('stripe_id', models.CharField(max_length=64, null=True, unique=True, verbose_name='na Stripe')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='desde')),
            ],
            options={
                'verbose_name': 'titular de cartões',
                'verbose_name_plural': 'titulares de cartões',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='CardPayment',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('how', models.CharField(choices=[('checkout', 'Cartão, na página da Stripe'), ('saved', 'Cartão salvo'), ('auto', 'Recarga automática'), ('pix', 'PIX pela Stripe')], max_length=8, verbose_name='como')),
                ('amount_nanos', models.BigIntegerField(verbose_name='valor')),
                ('received_nanos', models.BigIntegerField(default=0, verbose_name='recebido')),
                ('status', models.CharField(choices=[('opening', 'Abrindo'), ('pending', 'Aguardando'), ('paid', 'Pago'), ('failed', 'Recusado'), ('expired', 'Expirado')], default='opening', max_length=7, verbose_name='situação')),
                ('keeps_card', models.BooleanField(default=False, verbose_name='salva o cartão')),
                ('intent_id', models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name='intent')),
                ('session_id', models.CharField(blank=True, max_length=100, null=True, unique=True, verbose_name='sessão')),
                ('page_url', models.URLField(blank=True, max_length=2000, verbose_name='página da Stripe')),
                ('brcode', models.CharField(blank=True, max_length=512, verbose_name='copia e cola')),
                ('paid_with', models.CharField(blank=True, max_length=60, verbose_name='pago com')),
                ('decline_code', models.CharField(blank=True, max_length=60, verbose_name='código da recusa')),
                ('failure', models.CharField(blank=True, max_length=200, verbose_name='motivo da recusa')),
                ('created_at', models.DateTimeField(verbose_name='criada em')),
                ('expires_at', models.DateTimeField(verbose_name='expira em')),
                ('paid_at', models.DateTimeField(blank=True, null=True, verbose_name='paga em')),
                ('asked_at', models.DateTimeField(blank=True, null=True, verbose_name='consultada em')),
            ],
            options={
                'verbose_name': 'recarga pela Stripe',
                'verbose_name_plural': 'recargas pela Stripe',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Dispute',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('stripe_id', models.CharField(max_length=64, unique=True, verbose_name='na Stripe')),
                ('amount_nanos', models.BigIntegerField(verbose_name='valor')),
                ('reason', models.CharField(blank=True, max_length=60, verbose_name='motivo')),
                ('status', models.CharField(choices=[('open', 'Em aberto'), ('won', 'Ganha'), ('lost', 'Perdida')], default='open', max_length=4, verbose_name='situação')),
                ('is_withdrawn', models.BooleanField(default=False, verbose_name='dinheiro retido')),
                ('rounds', models.PositiveSmallIntegerField(default=0, verbose_name='idas e vindas')),
                ('has_suspended', models.BooleanField(default=False, verbose_name='suspendeu a empresa')),
                ('opened_at', models.DateTimeField(verbose_name='aberta em')),
                ('closed_at', models.DateTimeField(blank=True, null=True, verbose_name='encerrada em')),
                ('asked_at', models.DateTimeField(blank=True, null=True, verbose_name='consultada em')),
            ],
            options={
                'verbose_name': 'contestação',
                'verbose_name_plural': 'contestações',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='StripeEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('stripe_id', models.CharField(max_length=64, unique=True, verbose_name='evento')),
                ('type', models.CharField(max_length=60, verbose_name='tipo')),
                ('object_id', models.CharField(db_index=True, max_length=100, verbose_name='de')),
                ('payload', models.JSONField(verbose_name='conteúdo')),
                ('status', models.CharField(choices=[('due', 'A verificar'), ('done', 'Verificado')], default='due', max_length=4, verbose_name='situação')),
                ('deliveries', models.PositiveIntegerField(default=1, verbose_name='entregas')),
                ('failures', models.PositiveIntegerField(default=0, verbose_name='falhas')),
                ('last_error', models.CharField(blank=True, max_length=300, verbose_name='último erro')),
                ('received_at', models.DateTimeField(auto_now_add=True, verbose_name='recebido em')),
                ('due_at', models.DateTimeField(verbose_name='verificar em')),
                ('done_at', models.DateTimeField(blank=True, null=True, verbose_name='verificado em')),
            ],
            options={
                'verbose_name': 'evento da Stripe',
                'verbose_name_plural': 'eventos da Stripe',
            },
        ),
        migrations.AddField(
            model_name='refund',
            name='returned_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='voltou em'),
        ),
        migrations.AddField(
            model_name='refund',
            name='stripe_id',
            field=models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name='na Stripe'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='end_to_end_id',
            field=models.CharField(blank=True, max_length=32, verbose_name='E2E'),
        ),
        migrations.AddField(
            model_name='autotopup',
            name='wallet',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='auto_top_up', to='billing.wallet', verbose_name='carteira'),
        ),
        migrations.AddField(
            model_name='card',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='cards', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddField(
            model_name='autotopup',
            name='card',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.card', verbose_name='cartão'),
        ),
        migrations.AddField(
            model_name='cardholder',
            name='organization',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='card_holder', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddField(
            model_name='cardpayment',
            name='card',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='payments', to='billing.card', verbose_name='cartão'),
        ),
        migrations.AddField(
            model_name='cardpayment',
            name='created_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='criada por'),
        ),
        migrations.AddField(
            model_name='cardpayment',
            name='wallet',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='card_payments', to='billing.wallet', verbose_name='carteira'),
        ),
        migrations.AddField(
            model_name='refund',
            name='card_payment',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='refunds', to='billing.cardpayment', verbose_name='recarga pela Stripe'),
        ),
        migrations.AddField(
            model_name='dispute',
            name='payment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='disputes', to='billing.cardpayment', verbose_name='recarga'),
        ),
        migrations.AddIndex(
            model_name='stripeevent',
            index=models.Index(fields=['status', 'due_at'], name='stripe_event_due'),
        ),
        migrations.AddConstraint(
            model_name='card',
            constraint=models.UniqueConstraint(condition=models.Q(('is_default', True)), fields=('organization',), name='card_one_default'),
        ),
        migrations.AddConstraint(
            model_name='card',
            constraint=models.CheckConstraint(condition=models.Q(('is_default', False), ('status', 'active'), _connector='OR'), name='card_default_is_active'),
        ),
        migrations.AddConstraint(
            model_name='autotopup',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nanos__gt', 0), ('day_max_nanos__gte', models.F('amount_nanos')), ('threshold_nanos__gt', 0), ('month_max_nanos__gte', models.F('day_max_nanos'))), name='auto_top_up_amounts'),
        ),
        migrations.AddConstraint(
            model_name='autotopup',
            constraint=models.CheckConstraint(condition=models.Q(('is_on', False), ('card__isnull', False), _connector='OR'), name='auto_top_up_on_has_card'),
        ),
        migrations.AddIndex(
            model_name='cardpayment',
            index=models.Index(fields=['status', 'expires_at'], name='card_payment_due'),
        ),
        migrations.AddIndex(
            model_name='cardpayment',
            index=models.Index(fields=['wallet', '-created_at'], name='card_payment_by_wallet'),
        ),
        migrations.AddConstraint(
            model_name='cardpayment',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nanos__gt', 0)), name='card_payment_amount_positive'),
        ),
        migrations.AddConstraint(
            model_name='cardpayment',
            constraint=models.CheckConstraint(condition=models.Q(('received_nanos__gte', 0)), name='card_payment_received_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='cardpayment',
            constraint=models.UniqueConstraint(condition=models.Q(('how', 'auto'), ('status__in', ('opening', 'pending'))), fields=('wallet',), name='card_payment_one_auto'),
        ),
        migrations.AddConstraint(
            model_name='dispute',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nanos__gt', 0)), name='dispute_amount_positive'),
        ),
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
    ]
