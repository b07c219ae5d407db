"""Every setting of Tokia, read from the environment; `deploy/env.example` explains each one.

A bad value stops the start. A secret `X` may also come from the file named by `X_FILE`. The defaults run the sandbox on
loopback; with `TOKIA_ENV=production` nothing unsafe is accepted (see the last block).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from tokia.production import find_refusal

BASE_DIR = Path(__file__).resolve().parent.parent


class Environment(environ.FileAwareEnv):  # type: ignore[misc]
    """Says which name has the bad value."""

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var}: {error}") from error


def dated_percents(name: str, text: str) -> list[tuple[dt.date | None, Decimal]]:
    """`3.5`, or `0,2026-01-01=3.5,2026-07-16=4.38`: each percentage holds from its day on, one without a day from ever."""
    dated: list[tuple[dt.date | None, Decimal]] = []
    for part in text.split(","):
        since, _, percent = part.strip().rpartition("=")
        try:
            dated.append((dt.date.fromisoformat(since) if since else None, Decimal(percent)))
        except (ValueError, ArithmeticError) as error:
            raise ImproperlyConfigured(f"{name}: {part!r} is no percentage, nor a day with one") from error
    days = [day or dt.date.min for day, _ in dated]
    if days != sorted(set(days)) or not all(0 <= percent < 100 for _, percent in dated):
        raise ImproperlyConfigured(f"{name}: percentages from 0 to 100, in the sequence of their days")
    return dated


env = Environment()

# ── Which world ──────────────────────────────────────────────────────────────────────────────────────────────────────
TOKIA_ENV: str = env.str("TOKIA_ENV", "sandbox")
if TOKIA_ENV not in ("sandbox", "production"):
    raise ImproperlyConfigured("TOKIA_ENV is 'sandbox' or 'production'.")
IS_PRODUCTION = TOKIA_ENV == "production"
TOKIA_HOME = Path(env.str("TOKIA_HOME", str(BASE_DIR / ".tokia")))
DEBUG: bool = env.bool("DEBUG", False)
SECRET_KEY: str = env.str("SECRET_KEY", "" if IS_PRODUCTION else "sandbox-only-not-a-secret-sandbox-only-not-a-secret-0")
# Fernet keys for secrets at rest (provider keys), newest first; the others still decrypt.
ENCRYPTION_KEYS: list[str] = env.list(
    "ENCRYPTION_KEYS",
    default=[] if IS_PRODUCTION else [base64.urlsafe_b64encode(hashlib.sha256(SECRET_KEY.encode()).digest()).decode()],
)

# ── Addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────
WEB_URL: str = env.str("WEB_URL", "http://127.0.0.1:8000").rstrip("/")
GATEWAY_URL: str = env.str("GATEWAY_URL", "http://127.0.0.1:8080").rstrip("/")  # `/v1` is added to it
SANDBOX_URL: str = env.str("SANDBOX_URL", "" if IS_PRODUCTION else "http://127.0.0.1:8090").rstrip("/")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[urlsplit(WEB_URL).hostname or "", "127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = [WEB_URL]
# How many proxies of ours stand before the pages and may set X-Forwarded-For; 0: the peer's own address counts.
TRUSTED_PROXIES: int = env.int("TRUSTED_PROXIES", 0)

# ── Who we are, on every public page ─────────────────────────────────────────────────────────────────────────────────
IMPRINT_ADDRESS: str = env.str("IMPRINT_ADDRESS", "" if IS_PRODUCTION else "Rua do Exemplo, 100, Centro, São Paulo (SP)")
SUPPORT_EMAIL: str = env.str("SUPPORT_EMAIL", "" if IS_PRODUCTION else "ajuda@tokia.example")
SUPPORT_WHATSAPP: str = env.str("SUPPORT_WHATSAPP", "" if IS_PRODUCTION else "5500000000000")  # digits: 55, DDD, number
DPO_NAME: str = env.str("DPO_NAME", "" if IS_PRODUCTION else "Nome do encarregado")  # the encarregado of LGPD, art. 41
DPO_EMAIL: str = env.str("DPO_EMAIL", "" if IS_PRODUCTION else "privacidade@tokia.example")
# Others who handle customers' data besides the model providers: "name|country|what for", separated by semicolons
SUBPROCESSORS: str = env.str("SUBPROCESSORS", "")

# ── PostgreSQL and Valkey ────────────────────────────────────────────────────────────────────────────────────────────
DATABASE_URL: str = env.str("DATABASE_URL", "postgresql://tokia_app:tokia@127.0.0.1:5432/tokia")
DATABASE_OWNER_URL: str = env.str("DATABASE_OWNER_URL", "")  # the role that migrates; only `manage.py migrate` uses it
VALKEY_URL: str = env.str("VALKEY_URL", "redis://127.0.0.1:6379/0")
DATABASES = {"default": {**env.db_url_config(DATABASE_URL), "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}
DATABASES["default"].setdefault("OPTIONS", {})
CACHES = {
    "default": {
        "BACKEND": "tokia.cache.ForgivingCache",
        "LOCATION": VALKEY_URL,
        "KEY_PREFIX": "django",
        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ── Django ───────────────────────────────────────────────────────────────────────────────────────────────────────────
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.google",
    "allauth.socialaccount.providers.github",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "tokia",
    "accounts",
    "billing",
    "gateway",
    "invoices",
]
GATEWAY_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "accounts", "billing", "gateway"]  # all that `/v1` reads by
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "tokia.csp.AdminPolicyMiddleware",
    "tokia.language.LanguageMiddleware",
    "tokia.status.CookielessMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.middleware.OriginMiddleware",
    "accounts.impersonation_guard.ImpersonationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.TenantMiddleware",
    "accounts.middleware.SecondFactorMiddleware",
    "tokia.methods.MethodMiddleware",
]
ROOT_URLCONF = "tokia.urls"
WSGI_APPLICATION = "tokia.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            # Django's own two behind one that knows the language of the page; each template is compiled once for each.
            "loaders": [
                (
                    "tokia.template_loader.Loader",
                    ["django.template.loaders.filesystem.Loader", "django.template.loaders.app_directories.Loader"],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tokia.navigation.page_context",
            ],
        },
    }
]
LANGUAGE_CODE = "pt-br"
LANGUAGES = [("pt-br", "Português"), ("en", "English")]  # English for whoever chose it on a page: `tokia.language`
LANGUAGE_COOKIE_NAME = "idioma"
LANGUAGE_COOKIE_AGE = 31_536_000
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = IS_PRODUCTION
FORMAT_MODULE_PATH = ["tokia.formats"]
LOCALE_PATHS = [BASE_DIR / "tokia" / "locale"]
TIME_ZONE = "America/Sao_Paulo"
USE_TZ = True
USE_I18N = True
USE_THOUSAND_SEPARATOR = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles" if IS_PRODUCTION else None  # elsewhere the finders serve; nothing is collected
WHITENOISE_USE_FINDERS = not IS_PRODUCTION
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if IS_PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# ── People and sessions ──────────────────────────────────────────────────────────────────────────────────────────────
AUTH_USER_MODEL = "accounts.User"
SILENCED_SYSTEM_CHECKS = ["auth.W004"]  # the e-mail is unique without regard to case, by a constraint
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/app/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "accounts.forms.SignupTermsForm"
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_FORMAT = {"numeric": True, "length": 6, "dashed": False}
ACCOUNT_LOGIN_BY_CODE_ENABLED = False
ACCOUNT_SESSION_REMEMBER = True
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
PASSWORD_RESET_TIMEOUT = 3_600
PASSWORD_FAILURES_MAX: int = env.int("PASSWORD_FAILURES_MAX", 5)  # per e-mail, in the seconds below, wherever they come from
PASSWORD_FAILURES_SECONDS: int = env.int("PASSWORD_FAILURES_SECONDS", 300)
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "Tokia: "
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_EMAIL_NOTIFICATIONS = True  # of every change of how one signs in
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 600

# ── Second factors: codes of an application, passkeys, recovery codes ────────────────────────────────────────────────
# Staff see /admin/ only signed in with a second factor. Off in the demonstration, so that its administrator can be tried at once.
STAFF_NEEDS_MFA: bool = env.bool("STAFF_NEEDS_MFA", IS_PRODUCTION)
MFA_ADAPTER = "accounts.adapter.SecondFactorDoor"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_TOLERANCE = 1  # a clock that is 30 seconds off
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_PRODUCTION  # http on localhost, with a port
MFA_FORMS = {
    "authenticate": "accounts.sign_in_forms.SecondFactorForm",
    "reauthenticate": "accounts.sign_in_forms.SecondFactorAgainForm",
    "add_webauthn": "accounts.sign_in_forms.PasskeyForm",
}

# ── Sign-in by Google and GitHub: each only where its client is configured ───────────────────────────────────────────
GOOGLE_CLIENT_ID: str = env.str("GOOGLE_CLIENT_ID", "")
GOOGLE_CLIENT_SECRET: str = env.str("GOOGLE_CLIENT_SECRET", "")
GITHUB_CLIENT_ID: str = env.str("GITHUB_CLIENT_ID", "")
GITHUB_CLIENT_SECRET: str = env.str("GITHUB_CLIENT_SECRET", "")
SOCIALACCOUNT_ADAPTER = "accounts.adapter.SocialDoor"
SOCIALACCOUNT_PROVIDERS = {
    "google": {
        "APPS": [{"client_id": GOOGLE_CLIENT_ID, "secret": GOOGLE_CLIENT_SECRET}] if GOOGLE_CLIENT_ID else [],
        "SCOPE": ["profile", "email"],
        "OAUTH_PKCE_ENABLED": True,
    },
    "github": {
        "APPS": [{"client_id": GITHUB_CLIENT_ID, "secret": GITHUB_CLIENT_SECRET}] if GITHUB_CLIENT_ID else [],
        "SCOPE": ["user:email"],
        "OAUTH_PKCE_ENABLED": True,
    },
}
SOCIALACCOUNT_AUTO_SIGNUP = False  # the terms are accepted by whoever signs up, by whatever way
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False  # an address verified elsewhere opens no account here
SOCIALACCOUNT_QUERY_EMAIL = True
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5

# ── Leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────
CLOSING_DAYS: int = env.int("CLOSING_DAYS", 7)  # to change one's mind, before an account or an organization goes for good
DATA_COPY_DAYS: int = env.int("DATA_COPY_DAYS", 7)  # that a copy of one's data can be downloaded
AUDIT_ADDRESS_DAYS: int = env.int("AUDIT_ADDRESS_DAYS", 180)  # Marco Civil, art. 15: addresses of who is gone are kept so long
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = IS_PRODUCTION
CSRF_COOKIE_SECURE = IS_PRODUCTION

# ── E-mail ───────────────────────────────────────────────────────────────────────────────────────────────────────────
_email = env.email_url_config(env.str("EMAIL_URL", "" if IS_PRODUCTION else "smtp://127.0.0.1:8025") or "consolemail://")
EMAIL_BACKEND = _email["EMAIL_BACKEND"]
EMAIL_HOST, EMAIL_PORT = _email.get("EMAIL_HOST", ""), _email.get("EMAIL_PORT", 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _email.get("EMAIL_HOST_USER", ""), _email.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS: bool = _email.get("EMAIL_USE_TLS", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", "Tokia <nao-responda@tokia.com.br>")

# ── Celery ───────────────────────────────────────────────────────────────────────────────────────────────────────────
CELERY_BROKER_URL = VALKEY_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 600}
CELERY_TIMEZONE = "America/Sao_Paulo"

# ── Web security ─────────────────────────────────────────────────────────────────────────────────────────────────────
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],  # the playground's page adds the gateway
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "manifest-src": ["'self'"],
    }
}
# A form of ours leads there; browsers hold its redirect to `form-action` too.
CONTENT_SECURITY_POLICY["DIRECTIVES"]["form-action"] += ["https://accounts.google.com"] if GOOGLE_CLIENT_ID else []
CONTENT_SECURITY_POLICY["DIRECTIVES"]["form-action"] += ["https://github.com"] if GITHUB_CLIENT_ID else []
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if IS_PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_PRODUCTION
SECURE_HSTS_PRELOAD = IS_PRODUCTION
SECURE_SSL_REDIRECT = IS_PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576

# ── Management API (`/api/v1`; its manners are in `tokia.manners`) ───────────────────────────────────────────────────
API_REQUESTS_PER_MINUTE: int = env.int("API_REQUESTS_PER_MINUTE", 240)  # per key, person or, for strangers, address
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.KeyAuthentication", "accounts.authentication.MemberAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["tokia.manners.StrictJson"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tokia.manners.tell_problem",
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tokia — API de administração",
    "DESCRIPTION": "",  # tokia.openapi tells it
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SERVERS": [{"url": WEB_URL}],
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["tokia.openapi.finish"],
    "COMPONENT_SPLIT_REQUEST": False,
}

# ── Money ────────────────────────────────────────────────────────────────────────────────────────────────────────────
TOP_UP_MIN_BRL: int = env.int("TOP_UP_MIN_BRL", 10)
TOP_UP_MAX_BRL: int = env.int("TOP_UP_MAX_BRL", 50_000)
TOP_UP_OPEN_MAX: int = env.int("TOP_UP_OPEN_MAX", 10)  # charges awaiting payment per organization
REFUND_SELF_DAYS: int = env.int("REFUND_SELF_DAYS", 7)  # a customer returns what is unused of a top-up by one click until then
PROMO_WARNING_DAYS: int = env.int("PROMO_WARNING_DAYS", 3)  # before promotional money ends, its owner is told
CODE_GUESSES_MAX: int = env.int("CODE_GUESSES_MAX", 8)  # wrong coupons or referral codes per person and per organization, an hour
LOW_BALANCE_BRL: int = env.int("LOW_BALANCE_BRL", 20)  # under it the pages warn
EXCHANGE_RATE_MAX_AGE_DAYS: int = env.int("EXCHANGE_RATE_MAX_AGE_DAYS", 6)  # a long holiday; older is refused
COMPARISON_SOURCE_MAX_AGE_DAYS: int = env.int("COMPARISON_SOURCE_MAX_AGE_DAYS", 120)  # then somebody looks at it again
PROVIDER_REPORT_TOLERANCE_PERCENT: int = env.int("PROVIDER_REPORT_TOLERANCE_PERCENT", 2)  # of what a provider reports and we meter
# Taxes and charges on sending the dollars, on top of a provider's cost; a change of law is another day in the list
LANDED_COST_PERCENT = dated_percents("LANDED_COST_PERCENT", env.str("LANDED_COST_PERCENT", "0"))
PRICE_MARGIN_MIN_PERCENT: int = env.int("PRICE_MARGIN_MIN_PERCENT", 5)  # of the price; a thinner one needs a second administrator
PRICE_NOTICE_DAYS: int = env.int("PRICE_NOTICE_DAYS", 10)  # between telling customers and anything getting dearer
GATEWAY_SESSION_SECONDS: int = env.int("GATEWAY_SESSION_SECONDS", 30)  # a gateway silent for so long is fenced
HOLD_SECONDS_MAX: int = env.int("HOLD_SECONDS_MAX", 1_800)  # no call runs longer; an older hold expires

MONTH_CLOSE_GRACE_HOURS: int = env.int("MONTH_CLOSE_GRACE_HOURS", 6)  # after its last possible call, for spools to come in
EXPORT_ROWS_AT_ONCE: int = env.int("EXPORT_ROWS_AT_ONCE", 20_000)  # a longer file is made in the background
EXPORT_KEPT_HOURS: int = env.int("EXPORT_KEPT_HOURS", 24)
EXPORT_LEASE_SECONDS: int = env.int("EXPORT_LEASE_SECONDS", 60)  # a worker silent for so long is dead: another goes on
EXPORTS_OPEN_MAX: int = env.int("EXPORTS_OPEN_MAX", 5)  # under way per organization

# ── PIX: the receiving bank (Banco Central's API Pix 2.9.0) ──────────────────────────────────────────────────────────
PSP_BASE_URL: str = env.str("PSP_BASE_URL", "" if IS_PRODUCTION else "https://127.0.0.1:8091").rstrip("/")
PSP_TOKEN_URL: str = env.str("PSP_TOKEN_URL", f"{PSP_BASE_URL}/oauth/token")
PSP_CLIENT_ID: str = env.str("PSP_CLIENT_ID", "" if IS_PRODUCTION else "tokia-sandbox")
PSP_CLIENT_SECRET: str = env.str("PSP_CLIENT_SECRET", "" if IS_PRODUCTION else "tokia-sandbox-secret")
PSP_CERT_FILE: str = env.str("PSP_CERT_FILE", "" if IS_PRODUCTION else str(TOKIA_HOME / "sandbox" / "client.pem"))
PSP_CA_FILE: str = env.str("PSP_CA_FILE", "" if IS_PRODUCTION else str(TOKIA_HOME / "sandbox" / "ca.pem"))
PSP_PIX_KEY: str = env.str("PSP_PIX_KEY", "" if IS_PRODUCTION else "7d9f0335-8dcc-4054-9bf9-0dbd61d36906")
PSP_WEBHOOK_SECRET: str = env.str("PSP_WEBHOOK_SECRET", "" if IS_PRODUCTION else "sandbox-webhook-secret-0123456789")
# Behind a proxy that checks the bank's certificate: the header in which it says SUCCESS ("X-SSL-Client-Verify"). Empty: not asked.
PSP_WEBHOOK_VERIFY_HEADER: str = env.str("PSP_WEBHOOK_VERIFY_HEADER", "")
PSP_TIMEOUT_SECONDS: float = env.float("PSP_TIMEOUT_SECONDS", 10.0)
RECEIVER_NAME: str = env.str("RECEIVER_NAME", "Tokia Tecnologia Ltda")
RECEIVER_CITY: str = env.str("RECEIVER_CITY", "SAO PAULO")
RECEIVER_TAX_ID: str = env.str("RECEIVER_TAX_ID", "12ABC34501DE35")
CHARGE_EXPIRES_SECONDS: int = env.int("CHARGE_EXPIRES_SECONDS", 1_800)
CHARGE_GRACE_SECONDS: int = env.int("CHARGE_GRACE_SECONDS", 3_600)  # still asked at the bank after it expired

# ── Notas fiscais: the national emitter, Focus NFe ───────────────────────────────────────────────────────────────────
# Empty, as in production: the official hosts of the issuer's own environment (`invoices.sefin`).
SEFIN_URL: str = env.str("SEFIN_URL", "" if IS_PRODUCTION else "https://127.0.0.1:8093/SefinNacional").rstrip("/")
ADN_URL: str = env.str("ADN_URL", "" if IS_PRODUCTION else "https://127.0.0.1:8093/contribuintes").rstrip("/")
PARAM_URL: str = env.str("PARAM_URL", "" if IS_PRODUCTION else "https://127.0.0.1:8093/parametrizacao").rstrip("/")
# Who vouches for those hosts; empty: the system's own authorities.
SEFIN_CA_FILE: str = env.str("SEFIN_CA_FILE", "" if IS_PRODUCTION else str(TOKIA_HOME / "sandbox" / "fiscal-ca.pem"))
SEFIN_TIMEOUT_SECONDS: float = env.float("SEFIN_TIMEOUT_SECONDS", 60.0)  # it works on a DPS while we wait
FOCUS_URL: str = env.str("FOCUS_URL", "" if IS_PRODUCTION else f"{SANDBOX_URL}/focus").rstrip("/")  # empty: theirs

# ── Notas fiscais: calls to us ───────────────────────────────────────────────────────────────────────────────────────
# What Focus NFe sends as `Authorization` when it calls WEB_URL/webhooks/focus/. Empty: that door is shut, and notes are asked for.
FOCUS_WEBHOOK_SECRET: str = env.str("FOCUS_WEBHOOK_SECRET", "" if IS_PRODUCTION else "sandbox-focus-secret-0123456789abcdef")

# ── Stripe: cards, automatic top-ups ─────────────────────────────────────────────────────────────────────────────────
# Empty in production: no cards. The API version is pinned by the `stripe` package; the webhook's must be the same.
STRIPE_SECRET_KEY: str = env.str("STRIPE_SECRET_KEY", "" if IS_PRODUCTION else "sk_test_tokia_sandbox")
STRIPE_WEBHOOK_SECRETS: list[str] = env.list(  # newest first; an older one still counts while Stripe is being changed over
    "STRIPE_WEBHOOK_SECRETS", default=[] if IS_PRODUCTION else ["whsec_tokia_sandbox_0123456789abcdef"]
)
STRIPE_API_URL: str = env.str("STRIPE_API_URL", "" if IS_PRODUCTION else f"{SANDBOX_URL}/stripe").rstrip("/")  # empty: Stripe's own
# Where people pay; a form of ours may lead there.
STRIPE_CHECKOUT_URL: str = env.str("STRIPE_CHECKOUT_URL", "https://checkout.stripe.com" if IS_PRODUCTION else SANDBOX_URL)
if STRIPE_CHECKOUT_URL:
    CONTENT_SECURITY_POLICY["DIRECTIVES"]["form-action"].append(STRIPE_CHECKOUT_URL)
STRIPE_ACCOUNT: str = env.str("STRIPE_ACCOUNT", "")  # "acct_…": events that name another account are ignored
STRIPE_HAS_PIX: bool = env.bool("STRIPE_HAS_PIX", False)  # by invitation of Stripe, for Brazilian accounts
STRIPE_TIMEOUT_SECONDS: float = env.float("STRIPE_TIMEOUT_SECONDS", 20.0)
CHECKOUT_SECONDS: int = env.int("CHECKOUT_SECONDS", 3_600)  # a payment page of Stripe's is open for so long; 1 800 at least
CARD_FAILURES_MAX: int = env.int("CARD_FAILURES_MAX", 5)  # declined payments of an organization per hour; beyond it 429
CARDS_MAX: int = env.int("CARDS_MAX", 10)  # saved per organization, and saved in one day, removed ones included
AUTO_TOP_UP_FAILURES_MAX: int = env.int("AUTO_TOP_UP_FAILURES_MAX", 3)  # in a row; then it is switched off

# ── Public registries ────────────────────────────────────────────────────────────────────────────────────────────────
PTAX_URL: str = env.str(
    "PTAX_URL",
    "https://olinda.bcb.gov.br/olinda/servico/PTAX/versao/v1/odata"
    if IS_PRODUCTION
    else f"{SANDBOX_URL}/olinda/servico/PTAX/versao/v1/odata",
)
CNPJ_URL: str = env.str("CNPJ_URL", "" if IS_PRODUCTION else f"{SANDBOX_URL}/cnpj")  # `/{cnpj}` is added; empty: no look-up
# `/{eight digits}/json/` is added (ViaCEP's); empty: people type their address themselves
CEP_URL: str = env.str("CEP_URL", "https://viacep.com.br/ws" if IS_PRODUCTION else f"{SANDBOX_URL}/cep").rstrip("/")

# ── Calls to customers' addresses ────────────────────────────────────────────────────────────────────────────────────
# Receivers on loopback that the sandbox's webhooks may call, as "host:port" (`tokia.outbound`).
OUTBOUND_LOOPBACK: list[str] = env.list("OUTBOUND_LOOPBACK", default=[urlsplit(SANDBOX_URL).netloc] if SANDBOX_URL else [])

# ── The gateway's numbers, side by side ──────────────────────────────────────────────────────────────────────────────
GATEWAY_BODY_BYTES_MAX: int = env.int("GATEWAY_BODY_BYTES_MAX", 20 * 1_048_576)
GATEWAY_UPLOAD_BYTES_MAX: int = env.int("GATEWAY_UPLOAD_BYTES_MAX", 50 * 1_048_576)  # images to edit; sounds: 25 MiB at most
GATEWAY_UPLOADS_BYTES_MAX: int = env.int("GATEWAY_UPLOADS_BYTES_MAX", 512 * 1_048_576)  # of all uploads of a process
GATEWAY_MEDIA_IDLE_TIMEOUT_MS: int = env.int("GATEWAY_MEDIA_IDLE_TIMEOUT_MS", 300_000)  # pictures and sound take their time
GATEWAY_BODY_SECONDS: int = env.int("GATEWAY_BODY_SECONDS", 30)  # a body that has not come by then: 408
GATEWAY_DRAIN_SECONDS: int = env.int("GATEWAY_DRAIN_SECONDS", 25)  # after SIGTERM, streams may finish until then
GATEWAY_UPSTREAM_CONNECTIONS: int = env.int("GATEWAY_UPSTREAM_CONNECTIONS", 512)  # per process
GATEWAY_CALLS_MAX: int = env.int("GATEWAY_CALLS_MAX", 2_000)  # in flight per process; beyond it 503 overloaded
GATEWAY_CONNECT_TIMEOUT_MS: int = env.int("GATEWAY_CONNECT_TIMEOUT_MS", 5_000)
GATEWAY_IDLE_TIMEOUT_MS: int = env.int("GATEWAY_IDLE_TIMEOUT_MS", 60_000)  # no byte from upstream for so long
GATEWAY_TOTAL_TIMEOUT_MS: int = env.int("GATEWAY_TOTAL_TIMEOUT_MS", 600_000)
GATEWAY_HOLD_LINGER_MS: int = env.int("GATEWAY_HOLD_LINGER_MS", 2)
GATEWAY_SETTLE_LINGER_MS: int = env.int("GATEWAY_SETTLE_LINGER_MS", 3)
GATEWAY_BATCH_MAX: int = env.int("GATEWAY_BATCH_MAX", 256)
GATEWAY_LEDGER_QUEUE_MAX: int = env.int("GATEWAY_LEDGER_QUEUE_MAX", 4_000)
GATEWAY_SPOOL_AFTER_MS: int = env.int("GATEWAY_SPOOL_AFTER_MS", 2_000)
GATEWAY_SPOOL_DIR = Path(env.str("GATEWAY_SPOOL_DIR", str(TOKIA_HOME / "spool")))
GATEWAY_PROCESSES: int = env.int("GATEWAY_PROCESSES", 1)  # a local rate limit is 1/N of the shared one
GATEWAY_VALKEY_TIMEOUT_MS: int = env.int("GATEWAY_VALKEY_TIMEOUT_MS", 20)
GATEWAY_SNAPSHOT_SECONDS: float = env.float("GATEWAY_SNAPSHOT_SECONDS", 1.0)  # version poll, beside NOTIFY
GATEWAY_VITALS_SECONDS: float = env.float("GATEWAY_VITALS_SECONDS", 5.0)  # between two exchanges of what was measured
GATEWAY_FIRST_TOKEN_MS: int = env.int("GATEWAY_FIRST_TOKEN_MS", 30_000)  # a slower stream is ill, where its deployment says nothing
# Circuit breakers: opened by so many failures in a row, or by such a part of what was asked within the window
GATEWAY_CIRCUIT_FAILURES: int = env.int("GATEWAY_CIRCUIT_FAILURES", 5)
GATEWAY_CIRCUIT_WINDOW_SECONDS: float = env.float("GATEWAY_CIRCUIT_WINDOW_SECONDS", 30.0)
GATEWAY_CIRCUIT_ERROR_PERCENT: int = env.int("GATEWAY_CIRCUIT_ERROR_PERCENT", 50)
GATEWAY_CIRCUIT_REQUESTS_MIN: int = env.int("GATEWAY_CIRCUIT_REQUESTS_MIN", 10)  # within the window; of fewer no part is taken
GATEWAY_CIRCUIT_PAUSE_SECONDS: float = env.float("GATEWAY_CIRCUIT_PAUSE_SECONDS", 5.0)  # doubled each time, up to the next
GATEWAY_CIRCUIT_PAUSE_SECONDS_MAX: float = env.float("GATEWAY_CIRCUIT_PAUSE_SECONDS_MAX", 120.0)
GATEWAY_CIRCUIT_LIMIT_SECONDS_MAX: float = env.float("GATEWAY_CIRCUIT_LIMIT_SECONDS_MAX", 600.0)  # the longest Retry-After believed
GATEWAY_CIRCUIT_CREDENTIAL_SECONDS: float = env.float("GATEWAY_CIRCUIT_CREDENTIAL_SECONDS", 600.0)  # after our key was refused
GATEWAY_CIRCUIT_PROBES: int = env.int("GATEWAY_CIRCUIT_PROBES", 2)  # that must succeed before it closes
FILE_BYTES_MAX: int = env.int("FILE_BYTES_MAX", 100 * 1_048_576)  # of one upload to /v1/files
FILES_BYTES_MAX: int = env.int("FILES_BYTES_MAX", 2_048 * 1_048_576)  # that one organization keeps there
FILES_TTL_DAYS: int = env.int("FILES_TTL_DAYS", 30)  # a file is purged then, and a batch so long after its window
BATCHES_OPEN_MAX: int = env.int("BATCHES_OPEN_MAX", 20)  # per organization
BATCH_RUNNERS: int = env.int("BATCH_RUNNERS", 1)  # workers that may run batches at once
BATCH_LINES_AT_ONCE: int = env.int("BATCH_LINES_AT_ONCE", 16)  # of each; one organization has at most half of them
BATCH_LEASE_SECONDS: int = env.int("BATCH_LEASE_SECONDS", 60)  # a line of a worker silent for so long runs again
RESPONSES_TTL_DAYS: int = env.int("RESPONSES_TTL_DAYS", 30)  # a stored answer of /v1/responses is purged then
IDEMPOTENCY_TTL_HOURS: int = env.int("IDEMPOTENCY_TTL_HOURS", 24)  # an answer under an Idempotency-Key is told again until then
IDEMPOTENCY_BYTES_MAX: int = env.int("IDEMPOTENCY_BYTES_MAX", 1_024 * 1_048_576)  # of those, per organization, process and day
ANSWER_CACHE_BYTES_MAX: int = env.int("ANSWER_CACHE_BYTES_MAX", 64 * 1_048_576)  # of cached answers, per organization and day
REQUESTS_PER_MINUTE: int = env.int("REQUESTS_PER_MINUTE", 600)  # per key, where neither key nor LimitProfile says
CRASHPOINT: str = env.str("CRASHPOINT", "")  # tests: the process kills itself at this named point

# ── Logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
LOG_LEVEL: str = env.str("LOG_LEVEL", "INFO")
LOG_JSON: bool = env.bool("LOG_JSON", IS_PRODUCTION)
LOGGING_CONFIG = "tokia.logs.configure"
LOGGING = {"level": LOG_LEVEL, "json": LOG_JSON}

# ── Watching over the machine (the admin's page of health) ────────────────────────────────────────────────────────────────────────
COMMIT: str = env.str("COMMIT", "")  # of what runs; empty: the checkout's own
BACKUP_STAMP_FILE: str = env.str("BACKUP_STAMP_FILE", "")  # the backup's script touches it when it is done
UPSTREAM_BALANCE_MIN: int = env.int("UPSTREAM_BALANCE_MIN", 20)  # in the provider's currency; below it staff are told

# ── Admin ────────────────────────────────────────────────────────────────────────────────────────────────────────────
UNFOLD = {
    "SITE_TITLE": "Tokia",
    "SITE_HEADER": "Tokia",
    "SITE_URL": "/app/",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/tokia/icon.svg"}],
    "ENVIRONMENT": "tokia.admin_home.environment",
    "GLOBAL_CALLBACK": "tokia.admin_home.badges",
    "DASHBOARD_CALLBACK": "tokia.admin_home.dashboard",
    "STYLES": ["tokia.admin_home.stylesheet"],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {"navigation": "tokia.admin_menu.navigation", "show_search": True, "command_search": True},
    "COMMAND": {"search_callback": "tokia.admin_search.search"},
    "COLORS": {
        "primary": {
            "50": "#edfaf6",
            "100": "#d2f2e8",
            "200": "#a8e5d4",
            "300": "#70d2ba",
            "400": "#3bb89b",
            "500": "#1a9c80",
            "600": "#0b7a63",
            "700": "#0a6553",
            "800": "#0b5043",
            "900": "#0a4238",
            "950": "#042621",
        },
    },
}

# ── Production refuses to start unsafely ─────────────────────────────────────────────────────────────────────────────
if IS_PRODUCTION and (_refusal := find_refusal({**globals(), "EMAIL_URL": env.str("EMAIL_URL", "")})):
    raise ImproperlyConfigured(_refusal)
