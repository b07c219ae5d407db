"""The only list of URL prefixes."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("conta/", include("allauth.account.urls")),
    path("admin/", admin.site.urls),
]
