from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_password_failure'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='stores_responses',
            field=models.BooleanField(db_default=False, default=False, verbose_name='guarda respostas por padrão'),
        ),
    ]
