"""Projects; limits, top-up bounds and a margin by profile; what a key may do."""

import accounts.models
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_cache_seconds'),
    ]

    operations = [
        migrations.CreateModel(
            name='Project',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=60, verbose_name='nome')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
                ('archived_at', models.DateTimeField(blank=True, null=True, verbose_name='arquivado em')),
            ],
            options={
                'verbose_name': 'projeto',
                'verbose_name_plural': 'projetos',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddField(
            model_name='apikey',
            name='concurrent_calls',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='chamadas ao mesmo tempo'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='scopes',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=30), default=accounts.models.default_scopes, size=None, verbose_name='permissões'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='tokens_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='tokens por minuto'),
        ),
        migrations.AddField(
            model_name='limitprofile',
            name='concurrent_calls',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='chamadas ao mesmo tempo'),
        ),
        migrations.AddField(
            model_name='limitprofile',
            name='margin_bps',
            field=models.SmallIntegerField(db_default=0, default=0, verbose_name='ajuste de margem (centésimos de %)'),
        ),
        migrations.AddField(
            model_name='limitprofile',
            name='open_charges_max',
            field=models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='cobranças em aberto'),
        ),
        migrations.AddField(
            model_name='limitprofile',
            name='top_up_max_nanos',
            field=models.BigIntegerField(blank=True, null=True, verbose_name='recarga máxima'),
        ),
        migrations.AddField(
            model_name='limitprofile',
            name='top_up_min_nanos',
            field=models.BigIntegerField(blank=True, null=True, verbose_name='recarga mínima'),
        ),
        migrations.AddConstraint(
            model_name='limitprofile',
            constraint=models.CheckConstraint(condition=models.Q(('margin_bps__gt', -10000)), name='limit_profile_margin'),
        ),
        migrations.AddConstraint(
            model_name='limitprofile',
            constraint=models.CheckConstraint(condition=models.Q(('top_up_min_nanos__isnull', True), ('top_up_min_nanos__gt', 0), _connector='OR'), name='limit_profile_top_up_min'),
        ),
        migrations.AddField(
            model_name='project',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='criado por'),
        ),
        migrations.AddField(
            model_name='project',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='projects', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='project',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='api_keys', to='accounts.project', verbose_name='projeto'),
        ),
        migrations.AddConstraint(
            model_name='project',
            constraint=models.UniqueConstraint(models.F('organization'), django.db.models.functions.text.Lower('name'), condition=models.Q(('archived_at__isnull', True)), name='project_name_once'),
        ),
        migrations.RunSQL(
            """
            ALTER TABLE accounts_apikey ALTER COLUMN scopes SET DEFAULT '{call}';  -- the release before names no scopes
            CREATE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON accounts_project
              FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('callers');
            """,
            "DROP TRIGGER snapshot ON accounts_project;",
        ),
    ]
