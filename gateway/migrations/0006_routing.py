"""How a call finds who serves it. A change reaches every gateway within two seconds, whoever wrote it."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.manager
import gateway.models.routing
from django.conf import settings
from django.db import migrations, models


# What gateways keep in memory, and the number that tells them that it moved.
TABLES = {
    "gateway_routingrule": "catalog",
    "gateway_rulestep": "catalog",
    "gateway_fallback": "catalog",
    "gateway_experiment": "catalog",
    "gateway_experimentarm": "catalog",
    "gateway_ownkey": "callers",
}


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_cache_seconds'),
        ('gateway', '0005_files_and_batches'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='CredentialHealth',
            fields=[
                ('credential', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='health', serialize=False, to='gateway.credential', verbose_name='credencial')),
                ('dead_at', models.DateTimeField(blank=True, null=True, verbose_name='recusada desde')),
                ('dead_reason', models.CharField(blank=True, max_length=200, verbose_name='motivo')),
                ('balance', models.DecimalField(blank=True, decimal_places=4, max_digits=14, null=True, verbose_name='saldo no provedor')),
                ('balance_currency', models.CharField(blank=True, max_length=3, verbose_name='moeda')),
                ('balance_at', models.DateTimeField(blank=True, null=True, verbose_name='saldo em')),
                ('limits', models.JSONField(blank=True, default=dict, verbose_name='limites restantes')),
                ('limits_at', models.DateTimeField(blank=True, null=True, verbose_name='limites em')),
            ],
            options={
                'verbose_name': 'saúde da credencial',
                'verbose_name_plural': 'saúde das credenciais',
            },
        ),
        migrations.CreateModel(
            name='RoutingRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^tokia/[a-z0-9][a-z0-9._-]*$')], verbose_name='modelo virtual')),
                ('display_name', models.CharField(max_length=80, verbose_name='nome')),
                ('description', models.CharField(blank=True, max_length=300, verbose_name='descrição')),
                ('policy', models.CharField(choices=[('list', 'Lista'), ('auto', 'Automática')], default='list', max_length=4, verbose_name='política')),
                ('is_active', models.BooleanField(default=True, verbose_name='ativo')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
            ],
            options={
                'verbose_name': 'regra de roteamento',
                'verbose_name_plural': 'regras de roteamento',
                'ordering': ['name'],
            },
        ),
        migrations.AddField(
            model_name='credential',
            name='requests_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='requisições por minuto'),
        ),
        migrations.AddField(
            model_name='credential',
            name='tokens_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='tokens por minuto'),
        ),
        migrations.AddField(
            model_name='deployment',
            name='first_token_ms_max',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='1º token em até (ms)'),
        ),
        migrations.AddField(
            model_name='provider',
            name='has_zero_retention',
            field=models.BooleanField(db_default=False, default=False, verbose_name='não guarda os dados (ZDR)'),
        ),
        migrations.AddField(
            model_name='provider',
            name='trains_on_data',
            field=models.BooleanField(db_default=False, default=False, verbose_name='usa os dados para treino'),
        ),
        migrations.CreateModel(
            name='DeploymentVitals',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('begins_at', models.DateTimeField()),
                ('span_seconds', models.PositiveIntegerField()),
                ('deployment_id', models.BigIntegerField()),
                ('provider_slug', models.CharField(max_length=40)),
                ('route_name', models.CharField(max_length=100)),
                ('succeeded', models.IntegerField(default=0)),
                ('failed', models.IntegerField(default=0)),
                ('limited', models.IntegerField(default=0)),
                ('output_tokens', models.BigIntegerField(default=0)),
                ('output_ms', models.BigIntegerField(default=0)),
                ('first_token', django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), default=list, size=None)),
                ('total', django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), default=list, size=None)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('span_seconds', 'begins_at', 'deployment_id'), name='vitals_once')],
            },
        ),
        migrations.CreateModel(
            name='Experiment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=80, verbose_name='nome')),
                ('model', models.CharField(max_length=100, verbose_name='quando pedem o modelo')),
                ('status', models.CharField(choices=[('draft', 'Rascunho'), ('running', 'Em andamento'), ('ended', 'Encerrado')], default='draft', max_length=7, verbose_name='situação')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
                ('started_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='iniciado em')),
                ('ended_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='encerrado em')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='criado por')),
                ('organization', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='experiments', to='accounts.organization', verbose_name='empresa')),
            ],
            options={
                'verbose_name': 'experimento',
                'verbose_name_plural': 'experimentos',
                'ordering': ['-pk'],
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='ExperimentArm',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.CharField(max_length=40, verbose_name='rótulo')),
                ('weight', models.PositiveIntegerField(default=50, validators=[django.core.validators.MinValueValidator(1)], verbose_name='peso')),
                ('experiment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='arms', to='gateway.experiment', verbose_name='experimento')),
                ('route', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='gateway.route', verbose_name='modelo')),
            ],
            options={
                'verbose_name': 'braço',
                'verbose_name_plural': 'braços',
                'ordering': ['experiment', 'pk'],
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Fallback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=1, verbose_name='ordem')),
                ('kinds', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('outage', 'Fora do ar, lento ou corrompido'), ('rate_limit', 'Limite de requisições'), ('context_window', 'Não cabe no contexto'), ('content_policy', 'Política de conteúdo')], max_length=14), default=gateway.models.routing.every_kind, size=None, verbose_name='quando')),
                ('route', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='fallbacks', to='gateway.route', verbose_name='modelo')),
                ('target', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='gateway.route', verbose_name='substituto')),
            ],
            options={
                'verbose_name': 'substituto',
                'verbose_name_plural': 'substitutos',
                'ordering': ['route', 'position', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='Feedback',
            fields=[
                ('call_id', models.UUIDField(editable=False, primary_key=True, serialize=False, verbose_name='chamada')),
                ('score', models.SmallIntegerField(editable=False, verbose_name='nota')),
                ('comment', models.BinaryField(default=b'', verbose_name='comentário')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='em')),
                ('organization', models.ForeignKey(editable=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization', verbose_name='empresa')),
            ],
            options={
                'verbose_name': 'avaliação',
                'verbose_name_plural': 'avaliações',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='IdempotentCall',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('key_hash', models.BinaryField(max_length=32)),
                ('fingerprint', models.BinaryField(max_length=32)),
                ('call_id', models.UUIDField(editable=False)),
                ('session_id', models.BigIntegerField(editable=False)),
                ('status', models.CharField(choices=[('running', 'Em execução'), ('drafted', 'Respondida'), ('done', 'Concluída')], default='running', editable=False, max_length=7)),
                ('status_code', models.SmallIntegerField(default=0, editable=False)),
                ('headers', models.JSONField(default=dict, editable=False)),
                ('body', models.BinaryField(default=b'')),
                ('created_at', models.DateTimeField(editable=False)),
                ('expires_at', models.DateTimeField(db_index=True, editable=False)),
                ('organization', models.ForeignKey(editable=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization', verbose_name='empresa')),
            ],
            options={
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='OwnKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.CharField(max_length=60, verbose_name='rótulo')),
                ('secret', models.BinaryField(verbose_name='segredo')),
                ('last4', models.CharField(editable=False, max_length=4, verbose_name='final')),
                ('use', models.CharField(choices=[('first', 'Usar primeiro'), ('only', 'Usar só esta'), ('failover', 'Usar como reserva')], default='first', max_length=8, verbose_name='uso')),
                ('is_active', models.BooleanField(default=True, verbose_name='ativa')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criada em')),
                ('created_by', models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='criada por')),
                ('organization', models.ForeignKey(editable=False, on_delete=django.db.models.deletion.CASCADE, related_name='own_keys', to='accounts.organization', verbose_name='empresa')),
                ('provider', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='gateway.provider', verbose_name='provedor')),
            ],
            options={
                'verbose_name': 'chave própria do cliente',
                'verbose_name_plural': 'chaves próprias dos clientes',
                'ordering': ['provider__name', 'pk'],
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='RuleStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=1, verbose_name='ordem')),
                ('budget_below_ms', models.PositiveIntegerField(blank=True, null=True, verbose_name='só com orçamento de latência abaixo de (ms)')),
                ('route', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='gateway.route', verbose_name='modelo')),
                ('rule', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='steps', to='gateway.routingrule', verbose_name='regra')),
            ],
            options={
                'verbose_name': 'passo da regra',
                'verbose_name_plural': 'passos da regra',
                'ordering': ['rule', 'position', 'pk'],
            },
        ),
        migrations.AddConstraint(
            model_name='experiment',
            constraint=models.UniqueConstraint(condition=models.Q(('status', 'running')), fields=('organization', 'model'), name='experiment_running_once', nulls_distinct=False),
        ),
        migrations.AddConstraint(
            model_name='experimentarm',
            constraint=models.UniqueConstraint(fields=('experiment', 'label'), name='arm_once'),
        ),
        migrations.AddConstraint(
            model_name='experimentarm',
            constraint=models.CheckConstraint(condition=models.Q(('weight__gte', 1)), name='arm_has_weight'),
        ),
        migrations.AddConstraint(
            model_name='fallback',
            constraint=models.UniqueConstraint(fields=('route', 'target'), name='fallback_once'),
        ),
        migrations.AddConstraint(
            model_name='fallback',
            constraint=models.CheckConstraint(condition=models.Q(('route', models.F('target')), _negated=True), name='fallback_is_another'),
        ),
        migrations.AddConstraint(
            model_name='feedback',
            constraint=models.CheckConstraint(condition=models.Q(('score__in', (-1, 1))), name='feedback_up_or_down'),
        ),
        migrations.AddConstraint(
            model_name='idempotentcall',
            constraint=models.UniqueConstraint(fields=('organization', 'key_hash'), name='idempotent_call_once'),
        ),
        migrations.AddConstraint(
            model_name='rulestep',
            constraint=models.UniqueConstraint(fields=('rule', 'route'), name='rule_step_once'),
        ),
        *[
            migrations.RunSQL(
                f"CREATE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('{subject}');",
                f"DROP TRIGGER snapshot ON {table};",
            )
            for table, subject in TABLES.items()
        ],
    ]
