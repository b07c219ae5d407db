from django.apps import AppConfig


class TokiaConfig(AppConfig):
    name = "tokia"
    verbose_name = "Tokia"

    def ready(self) -> None:
        from tokia import celery  # noqa: F401 - every process sends its tasks by this app
