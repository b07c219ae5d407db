"""Sound, pictures, characters and searches are used and priced too. A column added to the partitioned table reaches its partitions;
a constant default rewrites none of them."""

from django.db import migrations, models

from billing.sql import read_sql


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0003_ledger'),
    ]

    operations = [
        migrations.AddField(
            model_name='usagerecord',
            name='audio_input_tokens',
            field=models.IntegerField(default=0, verbose_name='entrada de áudio'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='audio_output_tokens',
            field=models.IntegerField(default=0, verbose_name='saída de áudio'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='image_input_tokens',
            field=models.IntegerField(default=0, verbose_name='entrada de imagem'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='image_output_tokens',
            field=models.IntegerField(default=0, verbose_name='saída de imagem'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='images',
            field=models.IntegerField(default=0, verbose_name='imagens'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='audio_seconds',
            field=models.IntegerField(default=0, verbose_name='segundos de áudio'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='characters',
            field=models.IntegerField(default=0, verbose_name='caracteres'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='searches',
            field=models.IntegerField(default=0, verbose_name='buscas'),
        ),
        migrations.AlterField(
            model_name='price',
            name='unit',
            field=models.CharField(choices=[('input', 'Entrada'), ('cached_input', 'Entrada em cache'), ('cache_write', 'Escrita em cache'), ('output', 'Saída'), ('reasoning', 'Raciocínio'), ('audio_input', 'Entrada de áudio'), ('audio_output', 'Saída de áudio'), ('image_input', 'Entrada de imagem'), ('image_output', 'Saída de imagem'), ('image', 'Imagem'), ('audio_second', 'Tempo de áudio'), ('character', 'Caractere'), ('search', 'Busca'), ('request', 'Requisição')], max_length=12, verbose_name='unidade'),
        ),
        migrations.AlterField(
            model_name='providercost',
            name='unit',
            field=models.CharField(choices=[('input', 'Entrada'), ('cached_input', 'Entrada em cache'), ('cache_write', 'Escrita em cache'), ('output', 'Saída'), ('reasoning', 'Raciocínio'), ('audio_input', 'Entrada de áudio'), ('audio_output', 'Saída de áudio'), ('image_input', 'Entrada de imagem'), ('image_output', 'Saída de imagem'), ('image', 'Imagem'), ('audio_second', 'Tempo de áudio'), ('character', 'Caractere'), ('search', 'Busca'), ('request', 'Requisição')], max_length=12, verbose_name='unidade'),
        ),
        migrations.RunSQL(read_sql('settle'), migrations.RunSQL.noop),
    ]
