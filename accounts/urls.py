"""The pages of accounts. allauth's views keep their names and get Portuguese addresses; those not listed are not served."""

from allauth.account import views as allauth
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from allauth.socialaccount import views as social
from allauth.socialaccount.providers.github import views as github
from allauth.socialaccount.providers.google import views as google
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView

from accounts import audit_views, impersonation_views, sign_in_views, views
from accounts.sign_in_views import when_configured

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
    path("conta/dados/", sign_in_views.person, name="person"),
    path("conta/seguranca/", sign_in_views.security, name="mfa_index"),
    path("conta/sessoes/<int:session_id>/encerrar/", sign_in_views.end_session, name="end_session"),
    path("conta/sessoes/encerrar-outras/", sign_in_views.end_other_sessions, name="end_other_sessions"),
    path("conta/2fa/", factors.authenticate, name="mfa_authenticate"),
    path("conta/2fa/confirmar/", factors.reauthenticate, name="mfa_reauthenticate"),
    path("conta/2fa/aplicativo/ligar/", totp.activate_totp, name="mfa_activate_totp"),
    path("conta/2fa/aplicativo/remover/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path("conta/2fa/codigos/", recovery.view_recovery_codes, name="mfa_view_recovery_codes"),
    path("conta/2fa/codigos/novos/", recovery.generate_recovery_codes, name="mfa_generate_recovery_codes"),
    path("conta/2fa/codigos/codigos.txt", recovery.download_recovery_codes, name="mfa_download_recovery_codes"),
    path("conta/chaves-de-acesso/", RedirectView.as_view(url="/conta/seguranca/"), name="mfa_list_webauthn"),
    path("conta/chaves-de-acesso/nova/", passkeys.add_webauthn, name="mfa_add_webauthn"),
    path("conta/chaves-de-acesso/entrar/", passkeys.login_webauthn, name="mfa_login_webauthn"),
    path("conta/chaves-de-acesso/confirmar/", passkeys.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("conta/chaves-de-acesso/<int:pk>/mudar/", sign_in_views.rename_passkey, name="mfa_edit_webauthn"),
    path("conta/chaves-de-acesso/<int:pk>/remover/", sign_in_views.remove_passkey, name="mfa_remove_webauthn"),
    path("conta/entrar/google/", when_configured("google", google.oauth2_login), name="google_login"),
    path("conta/entrar/google/retorno/", when_configured("google", google.oauth2_callback), name="google_callback"),
    path("conta/entrar/github/", when_configured("github", github.oauth2_login), name="github_login"),
    path("conta/entrar/github/retorno/", when_configured("github", github.oauth2_callback), name="github_callback"),
    path("conta/entrar/desistiu/", social.login_cancelled, name="socialaccount_login_cancelled"),
    path("conta/entrar/erro/", social.login_error, name="socialaccount_login_error"),
    path("conta/cadastro/terminar/", sign_in_views.social_signup, name="socialaccount_signup"),
    path("conta/ligadas/", RedirectView.as_view(url="/conta/seguranca/"), name="socialaccount_connections"),
    path("conta/ligadas/<str:provider>/desligar/", sign_in_views.disconnect, name="disconnect_social"),
    path("app/comecar/", views.start, name="start"),
    path("app/comecar/cnpj/", views.look_up, name="look_up_company"),
    path("app/comecar/cep/", views.look_up_address, name="look_up_address"),
    path("app/configuracoes/seguranca/", audit_views.security, name="organization_security"),
    path("app/configuracoes/seguranca/duas-etapas/", audit_views.demand_second_factor, name="demand_second_factor"),
    path("app/configuracoes/seguranca/registro/", audit_views.audit_log, name="audit_log"),
    path("app/configuracoes/seguranca/registro.csv", audit_views.audit_csv, name="audit_csv"),
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
