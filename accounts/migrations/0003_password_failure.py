from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_snapshot_version'),
    ]

    operations = [
        migrations.CreateModel(
            name='PasswordFailure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('email', models.EmailField(max_length=254)),
                ('failed_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'indexes': [models.Index(fields=['email', 'failed_at'], name='password_failure_by_email')],
            },
        ),
    ]
