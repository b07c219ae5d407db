from django.apps import AppConfig


class TokiaConfig(AppConfig):
    name = "tokia"
    verbose_name = "Tokia"
