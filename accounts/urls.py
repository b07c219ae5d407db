"""The pages of accounts. allauth's views keep their names and get Portuguese addresses; those not listed are not served."""

from allauth.account import views as allauth
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView

from accounts import impersonation_views, views

urlpatterns: list[URLPattern | URLResolver] = [
    path("conta/entrar/", allauth.login, name="account_login"),
    path("conta/sair/", allauth.logout, name="account_logout"),
    path("conta/cadastro/", allauth.signup, name="account_signup"),
    path("conta/inativa/", allauth.account_inactive, name="account_inactive"),
    path("conta/confirmar-email/", allauth.email_verification_sent, name="account_email_verification_sent"),
    # allauth sends people here whose address is confirmed already.
    path("conta/email/", RedirectView.as_view(url="/app/"), name="account_email"),
    path("conta/confirmar/", allauth.reauthenticate, name="account_reauthenticate"),
    path("conta/senha/trocar/", allauth.password_change, name="account_change_password"),
    path("conta/senha/esqueci/", allauth.password_reset, name="account_reset_password"),
    path("conta/senha/esqueci/enviado/", allauth.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^conta/senha/nova/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        allauth.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("conta/senha/pronta/", allauth.password_reset_from_key_done, name="account_reset_password_from_key_done"),
    path("app/comecar/", views.start, name="start"),
    path("app/comecar/cnpj/", views.look_up, name="look_up_company"),
    path("app/comecar/cep/", views.look_up_address, name="look_up_address"),
    path("app/equipe/", views.team, name="team"),
    path("app/equipe/convites/<int:invitation_id>/cancelar/", views.cancel_invitation, name="cancel_invitation"),
    path("app/equipe/convites/<int:invitation_id>/reenviar/", views.resend_invitation, name="resend_invitation"),
    path("app/equipe/<int:membership_id>/papel/", views.change_role, name="change_role"),
    path("app/equipe/<int:membership_id>/remover/", views.remove_member, name="remove_member"),
    path("app/visita/sair/", impersonation_views.leave, name="leave_visit"),
    path("app/convite/<str:token>/", views.invitation, name="invitation"),
    path("app/configuracoes/empresa/", views.organization, name="organization"),
    path("api/v1/", include("accounts.api")),
    path("app/empresas/trocar/", views.switch, name="switch_organization"),
]
