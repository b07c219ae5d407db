"""The only list of URL prefixes."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from accounts.operations import Elsewhere
from tokia import (
    admin_machine,
    admin_organization,
    catalog_pages,
    docs_pages,
    health,
    home,
    language,
    machine_pages,
    model_pages,
    openapi,
    price_pages,
    price_resource,
    privacy_pages,
    public_pages,
    status,
)

# The admin's own sign-in page has no limits: staff sign in like everybody else.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", public_pages.landing, name="landing"),
    path("modelos/", catalog_pages.catalog, name="catalog"),
    path("modelos/comparar/", catalog_pages.comparison, name="comparison"),
    path("modelos/<str:maker>/<str:model>/", model_pages.model, name="model"),
    path("sitemap.xml", machine_pages.sitemap, name="sitemap"),
    path("robots.txt", machine_pages.robots, name="robots"),
    path("llms.txt", machine_pages.llms, name="llms"),
    path("openapi.yaml", machine_pages.openapi_yaml, name="openapi_yaml"),
    path("postman.json", machine_pages.postman_json, name="postman"),
    path("precos/", price_pages.prices, name="prices"),
    path("precos.json", price_pages.prices_json, name="prices_json"),
    path("precos.csv", price_pages.prices_csv, name="prices_csv"),
    path("termos/", public_pages.terms, name="terms"),
    path("docs/", docs_pages.index, name="docs"),
    path("docs/busca/", docs_pages.search, name="docs_search"),
    path("docs/indice.json", docs_pages.search_index, name="docs_index"),
    path("docs/<slug:slug>.md", docs_pages.markdown, name="docs_markdown"),
    path("docs/<slug:slug>/", docs_pages.page, name="docs_page"),
    path("status/", status.status, name="status"),
    path("status.json", status.status_json, name="status_json"),
    path("privacidade/", public_pages.privacy, name="privacy"),
    path("suboperadores/", public_pages.subprocessors_page, name="subprocessors"),
    path("novidades/", public_pages.news, name="news"),
    path("contato/", public_pages.contact, name="contact"),
    path("idioma/", language.switch, name="language"),
    path("parcial/comparacao/", public_pages.comparison_part, name="comparison_part"),
    path("app/", home.dashboard, name="dashboard"),
    path("app/parcial/saldo/", home.balance, name="balance"),
    path("app/parcial/ultimas/", home.last_calls, name="last_calls"),
    path("app/parcial/primeira-chamada/", home.first_call, name="first_call"),
    path("app/parcial/passos/", home.dismiss_checklist, name="dismiss_checklist"),
    path("conta/privacidade/", privacy_pages.own_privacy, name="own_privacy"),
    path("conta/privacidade/copia/", privacy_pages.ask_for_own_copy, name="ask_for_own_copy"),
    path("conta/privacidade/copias/<uuid:copy_id>.zip", privacy_pages.download_copy, name="download_copy"),
    path("conta/privacidade/excluir/", privacy_pages.close_account, name="close_account"),
    path("conta/privacidade/desistir/", privacy_pages.keep_account, name="keep_account"),
    path("app/configuracoes/privacidade/", privacy_pages.organization_privacy, name="organization_privacy"),
    path("app/configuracoes/privacidade/copia/", privacy_pages.ask_for_organization_copy, name="ask_for_organization_copy"),
    path("app/configuracoes/privacidade/encerrar/", privacy_pages.close_organization, name="close_organization"),
    path("app/configuracoes/privacidade/desistir/", privacy_pages.keep_organization, name="keep_organization"),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("", include("gateway.urls")),
    path("", include("invoices.urls")),
    path("api/v1/prices", price_resource.PricesResource.as_view(), name="api_prices"),
    path("api/v1/openapi.json", openapi.serve, name="openapi"),
    path("api/v1/<path:rest>", Elsewhere.as_view()),  # the last of them
    path("admin/saude/", admin.site.admin_view(admin_machine.health), name="machine_health"),
    path("admin/empresas/<int:organization_id>/", admin.site.admin_view(admin_organization.sheet), name="organization_sheet"),
    path(
        "admin/empresas/<int:organization_id>/anotar/", admin.site.admin_view(admin_organization.add_note), name="organization_note"
    ),
    path(
        "admin/empresas/<int:organization_id>/entrar/", admin.site.admin_view(admin_organization.enter), name="enter_organization"
    ),
    path("admin/", admin.site.urls),
    path("healthz", health.live, name="healthz"),
    path("readyz", health.ready, name="readyz"),
]
