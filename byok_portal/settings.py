"""Settings, from the environment only (django-environ). Every secret may also come from a file: `NAME_FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF

from byok_portal.boundary import logs

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.FileAwareEnv()
"""Reads `NAME_FILE` before `NAME`, so that secrets can be mounted as files."""

BUILD = env.bool("BYOK_BUILD", default=False)
"""Type checks and migrations checks import the settings without a database or a secret."""

DEBUG = False  # Django's debug pages print local variables; there is no setting that turns them on.
SECRET_KEY: str = env.str("SECRET_KEY", default="build-only" * 8 if BUILD else environ.Env.NOTSET)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])
BASE_URL: str = env.str("BASE_URL", default="http://localhost:8000")
_TLS = BASE_URL.startswith("https://")
CSRF_TRUSTED_ORIGINS = [BASE_URL]

# --- Custody -------------------------------------------------------------------------------------------------------
KEY_FILE: str = env.str("BYOK_KEY_FILE", default="")
"""Path of the key-encryption key ring (mode 0600). Without it nothing stored can be opened."""

JOB_LEASE_SECONDS: int = env.int("BYOK_JOB_LEASE_SECONDS", default=150)
"""Longer than one step may take: a revocation with its looks, each call cut off after 20 seconds."""
BROKERED_CALLS: int = env.int("BYOK_BROKERED_CALLS", default=2)
"""Calls of one tenant that may wait for providers at once in one web process; it has four threads."""
INVITATION_DAYS: int = env.int("BYOK_INVITATION_DAYS", default=7)
DRILL_ORIGINS: list[str] = env.list("BYOK_DRILL_ORIGINS", default=[BASE_URL])
"""Web origins that answer uses, as a worker reaches them: a drill measures each of them, past a load balancer too."""
HAND_OVER_DAYS: int = env.int("BYOK_HAND_OVER_DAYS", default=14)
SUCCESSOR_SECONDS: int = env.int("BYOK_SUCCESSOR_SECONDS", default=300)
PROOF_DAYS: int = env.int("BYOK_PROOF_DAYS", default=90)

# --- Databases: one login per role, none of them a superuser (DESIGN.md section 5) ---------------------------------
_BUILD_URL = "postgres://build@localhost/build"


def _database(url: str, **options: Any) -> dict[str, Any]:
    database = dict(environ.Env.db_url_config(url))
    return database | {
        "ENGINE": "byok_portal.boundary.database",
        "CONN_MAX_AGE": env.int("CONN_MAX_AGE", default=60),
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,  # a pooler in transaction mode cannot keep them
        # What the address asks for counts: `sslmode`, and `target_session_attrs` where it names several hosts.
        "OPTIONS": {"connect_timeout": 5, **database.get("OPTIONS", {}), **options},
    }


DATABASES = {"default": _database(env.str("DATABASE_URL", default=_BUILD_URL if BUILD else environ.Env.NOTSET))}
for _alias in ("staff", "sequencer", "auditor", "reader"):
    if _url := env.str(f"DATABASE_URL_{_alias.upper()}", default=""):
        DATABASES[_alias] = _database(_url)
if _url := env.str("DATABASE_URL_REPLICA", default=""):
    # The web's own login at a streaming standby: pages and lists that may lag are read there (decision 0017).
    # One whose host has vanished must not hold pages up: the primary can answer them.
    DATABASES["replica"] = _database(_url, connect_timeout=2, tcp_user_timeout=2000)
REPLICA_LAG_MAX: float = env.float("REPLICA_LAG_MAX", default=1.0)
"""Seconds. Of a replica that is further behind, health checks say so; reads need one that has caught up."""
if _url := env.str("DATABASE_URL_OWNER", default=""):
    # Only the migration login sees rows of every tenant, and only with this switch (measured.md 2.3).
    DATABASES["owner"] = _database(_url, options="-c app.maintenance=on")
DATABASE_ROUTERS = ["byok_portal.boundary.database.router.DoorRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Apps ----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "byok_portal.apps.PortalConfig",
    "keys.apps.KeysConfig",
    "tenants.apps.TenantsConfig",
    "audit.apps.AuditConfig",
    "byok_portal.boundary.apps.BoundaryConfig",
    "byok_portal.ui",
    "byok_portal.apps.StaffSiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.forms",
    "allauth",
    "allauth.account",
    "csp",
    "django_filters",
    "django_q",
    "drf_spectacular",
    "lucide",
    "rest_framework",
]
MIDDLEWARE = [
    "byok_portal.boundary.middleware.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "byok_portal.boundary.middleware.Policy",
    "byok_portal.boundary.middleware.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "byok_portal.boundary.middleware.SignedIn",
    "byok_portal.boundary.middleware.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "byok_portal.boundary.middleware.StaffDoor",
    "byok_portal.boundary.middleware.PortalErrors",
]
ROOT_URLCONF = "byok_portal.urls"
WSGI_APPLICATION = "byok_portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "byok_portal.ui.theme.theme",
                "byok_portal.navigation.shell",
            ],
            "builtins": ["django.templatetags.i18n", "django.templatetags.static"],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT: str = env.str("STATIC_ROOT", default=str(BASE_DIR / ".static"))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_MANIFEST_STRICT = False
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "byok_cache"}}

# --- People --------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 15}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_REDIRECT_URL = "/"
LOGIN_URL = "account_login"
ACCOUNT_ADAPTER = "tenants.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"  # an invitation has proven the address
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # that mail would offer to sign up, and one comes in by invitation only
ALLAUTH_TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", default=0)
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _TLS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "byok_portal.boundary.pages.csrf_failure"
EMAIL_TIMEOUT = 20  # far shorter than a job's lease: a mail server that hangs is not a worker that died
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
if EMAIL_CONFIG.get("EMAIL_FILE_PATH"):
    # django-environ drops the first slash, and mails would lie below whatever folder a command was started in.
    EMAIL_CONFIG["EMAIL_FILE_PATH"] = f"/{EMAIL_CONFIG['EMAIL_FILE_PATH'].lstrip('/')}"
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="portal@byok.example")
MAIL_CONFIGURED = bool(env.str("EMAIL_URL", default=""))
MAIL_LEAVES = MAIL_CONFIGURED and "smtp" in str(EMAIL_CONFIG.get("EMAIL_BACKEND", ""))
"""Invitations go by mail alone; with files or without mail, the link is shown to whoever invites as well."""
DIGEST_MINUTES: int = env.int("BYOK_DIGEST_MINUTES", default=60)
"""At most one digest per person and tenant in this time; urgent notices do not wait for it."""
DIGEST_WAIT_SECONDS: int = env.int("BYOK_DIGEST_WAIT_SECONDS", default=300)
"""How long the first notice waits for others to come along."""
MAILBOX: str = env.str("BYOK_MAILBOX", default="")
"""Folder of the file backend whose mails `/demo/mailbox/` shows to anybody: for the quick start only."""

# --- Transport and browser -----------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = _TLS
SECURE_HSTS_SECONDS = 31_536_000 if _TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _TLS
SECURE_REFERRER_POLICY = "same-origin"
if env.int("TRUSTED_PROXY_COUNT", default=0):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- API -----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["byok_portal.boundary.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "byok_portal.boundary.problems.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "BYOK Portal",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "ENUM_NAME_OVERRIDES": {
        "KindEnum": "tenants.models.ConsumerKind",
        "ErasureKindEnum": [(word, word) for word in ("event", "person", "consumer")],
        "DrillKindEnum": [(word, word) for word in ("revocation", "rotation", "offboarding")],
        "CampaignSelectionEnum": [(word, word) for word in ("all", "environment", "provider", "risk", "policy")],
        "CampaignStateEnum": [(word, word) for word in ("open", "closed", "cancelled")],
        "IncidentStateEnum": "keys.models.words.INCIDENT_STATES",
        "IncidentExposureEnum": "keys.models.incidents.EXPOSURES",
        "ConsequenceEnum": [(word, word) for word in ("notify", "block_grants", "suspend")],
        "RevocationReasonEnum": "keys.models.words.REVOCATION_REASONS",
    },
}

# --- Workers (django-q2, ORM broker; each number explained in docs/operations.md) -----------------------------------
_WORKERS, _TIMEOUT, _QUEUE_LIMIT = env.int("BYOK_WORKERS", default=2), 300, 4
Q_CLUSTER = {
    "name": "byok",
    "orm": "default",
    "workers": _WORKERS,
    "timeout": _TIMEOUT,
    "retry": int(_TIMEOUT * (2 + (_QUEUE_LIMIT + 1) / _WORKERS)) + 60,
    "queue_limit": _QUEUE_LIMIT,
    "bulk": 1,
    "poll": 0.2,
    "catch_up": False,
    "ack_failures": True,
    "max_attempts": 1,
    "save_limit": 1000,
    "recycle": 500,
}

# --- Audit log (docs/operations.md) ----------------------------------------------------------------------------------
LOG_KEY_FILE = env.str("BYOK_LOG_KEY_FILE", default="")
LOG_PIN_FILE = env.str("BYOK_LOG_PIN_FILE", default="")
LOG_VKEY = env.str("BYOK_LOG_VKEY", default="", multiline=True)
WITNESS_URL = env.str("BYOK_WITNESS_URL", default="")
WITNESS_VKEY = env.str("BYOK_WITNESS_VKEY", default="", multiline=True)
WITNESS_TIMEOUT = env.float("BYOK_WITNESS_TIMEOUT", default=10.0)
CHECKPOINT_SECONDS = env.float("BYOK_CHECKPOINT_SECONDS", default=5.0)

# --- Logs ----------------------------------------------------------------------------------------------------------
LOGGING_CONFIG = None
logs.configure(level=env.str("LOG_LEVEL", default="INFO"), plain=env.bool("LOG_PLAIN", default=False))
