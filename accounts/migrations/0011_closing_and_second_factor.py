"""When people and organizations go, how they sign in, copies of what is kept of them."""

import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0010_session_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='organization',
            name='closed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='encerrada em'),
        ),
        migrations.AddField(
            model_name='organization',
            name='closes_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='encerra em'),
        ),
        migrations.AddField(
            model_name='organization',
            name='closing_asked_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='pediu encerramento em'),
        ),
        migrations.AddField(
            model_name='organization',
            name='mfa_demanded_from',
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name='exige duas etapas desde'),
        ),
        migrations.AddField(
            model_name='user',
            name='closed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='excluída em'),
        ),
        migrations.AddField(
            model_name='user',
            name='closes_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='some em'),
        ),
        migrations.AddField(
            model_name='user',
            name='closing_asked_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='pediu exclusão em'),
        ),
        migrations.CreateModel(
            name='DataCopy',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('status', models.CharField(choices=[('waiting', 'Na fila'), ('done', 'Pronta'), ('failed', 'Falhou'), ('expired', 'Expirada')], default='waiting', max_length=7, verbose_name='situação')),
                ('tries', models.PositiveSmallIntegerField(default=0, verbose_name='tentativas')),
                ('file', models.BinaryField(null=True)),
                ('bytes', models.PositiveIntegerField(default=0, verbose_name='bytes')),
                ('created_at', models.DateTimeField(verbose_name='pedida em')),
                ('expires_at', models.DateTimeField(null=True, verbose_name='guardada até')),
                ('organization', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization', verbose_name='empresa')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='pedida por')),
            ],
            options={
                'verbose_name': 'cópia de dados',
                'verbose_name_plural': 'cópias de dados',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
    ]
