"""Settings, all from the environment (12-factor). `X_FILE` names a file that holds the value of X, for secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
from celery.schedules import crontab

from controlplane import headers
from controlplane.environment import Environment, database, secret
from controlplane.metrics import files as metrics_files

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()
metrics_files.prepare()  # before any app makes its counters

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = [key for key in secret("SECRET_KEY_FALLBACKS", default="").split(",") if key]
# Newest first: the first one encrypts, all of them decrypt.
FIELD_ENCRYPTION_KEYS = [key.strip() for key in secret("FIELD_ENCRYPTION_KEYS").split(",") if key.strip()]
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000")
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[PUBLIC_URL])
HTTPS = env.bool("HTTPS", default=PUBLIC_URL.startswith("https://"))

SHARED_APPS = [
    "controlplane.apps.ControlplaneConfig",
    "tenants",
    "provisioning",
    "backups",
    "monitoring",
    "controlplane.door.apps.DoorConfig",
    "django_tenants",  # after ours: it has a create_tenant and a delete_tenant, too
    "unfold.apps.BasicAppConfig",  # the site is our own, see controlplane.admin_site
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "controlplane.apps.ControlplaneAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_prometheus",
    "django_celery_beat",
    "csp",
    "django_htmx",
    "django_filters",
    "django_structlog",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
# What `import_template --django` makes a template of: the Django apps that live in each tenant's schema.
TENANT_APPS = ["django.contrib.contenttypes", *env.list("TENANT_APPS", default=[])]
INSTALLED_APPS = [*SHARED_APPS, *(app for app in TENANT_APPS if app not in SHARED_APPS)]
TENANT_MODEL = "tenants.Tenant"
TENANT_DOMAIN_MODEL = "tenants.Domain"
# Else django-tenants sets the search_path before every single query, which doubles their number. It is safe here, since
# this connection only ever looks into `public` (tenants' schemas are reached by tenants.postgres, as their own roles);
# the one exception, provisioning.django_apps, sets it back at once.
TENANT_LIMIT_SET_CALLS = True
TENANT_BASE_DOMAIN = env.str("TENANT_BASE_DOMAIN", default="tenants.localhost")

MIDDLEWARE = [
    "controlplane.metrics.requests.BeforeMiddleware",
    "controlplane.headers.HeadersMiddleware",
    "csp.middleware.CSPMiddleware",
    "controlplane.headers.AdminPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "controlplane.middleware.ProblemMiddleware",  # first: it settles the request's id that structlog logs
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "controlplane.door.middleware.DoorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "controlplane.metrics.requests.AfterMiddleware",
]
ROOT_URLCONF = "controlplane.urls"
WSGI_APPLICATION = "controlplane.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **database("DATABASE_URL"),
        "ENGINE": "django_tenants.postgresql_backend",
        "CONN_MAX_AGE": env.int("CONN_MAX_AGE", default=60),
        "CONN_HEALTH_CHECKS": True,
    }
}
DATABASES["default"].setdefault("OPTIONS", {})
# What tenants of this database are told to connect to, when it is not the same: a pooler, a proxy.
PUBLIC_DATABASE_HOST = env.str("PUBLIC_DATABASE_HOST", default="")
PUBLIC_DATABASE_PORT = env.int("PUBLIC_DATABASE_PORT", default=0)
# The PgBouncer in front of it, the file it includes, its log, and where it finds the server (when not where we do).
POOLER_URL = secret("POOLER_URL", default="")
POOLER_CONFIG = env.str("POOLER_CONFIG", default="")
POOLER_LOG = env.str("POOLER_LOG", default="")
POOLER_SERVER = env.str("POOLER_SERVER", default="")
ORIGINAL_BACKEND = "django_prometheus.db.backends.postgresql"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = secret("REDIS_URL")
CACHES = {"default": {"BACKEND": "controlplane.cache.RedisCache", "LOCATION": REDIS_URL}}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = env.int("SESSION_MAX_SECONDS", default=8 * 3600)
SESSION_IDLE_SECONDS = env.int("SESSION_IDLE_SECONDS", default=3600)
MAX_SESSIONS = env.int("MAX_SESSIONS", default=5)
LOGIN_ATTEMPTS = env.int("LOGIN_ATTEMPTS", default=5)
LOGIN_LOCK_SECONDS = env.int("LOGIN_LOCK_SECONDS", default=900)
PURGE_NEEDS_APPROVAL = env.bool("PURGE_NEEDS_APPROVAL", default=False)
PURGE_APPROVAL_SECONDS = env.int("PURGE_APPROVAL_SECONDS", default=86400)
REQUIRE_SECOND_FACTOR = env.bool("REQUIRE_SECOND_FACTOR", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=HTTPS)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics(/tenants)?$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {"DIRECTIVES": headers.CONTENT_SECURITY_POLICY}
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = env.bool("STATIC_FROM_SOURCE", default=not STATIC_ROOT.exists())

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tenants.rest.authentication.ApiKeyAuthentication",
        "tenants.rest.authentication.StaffSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.rest.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["tenants.rest.renderers.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["tenants.rest.parsers.StrictJsonParser"],
    "DEFAULT_PAGINATION_CLASS": "tenants.rest.pagination.NewestFirstPagination",
    "DEFAULT_FILTER_BACKENDS": ["tenants.rest.filters.StrictFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "tenants.rest.schema.ProblemAutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["tenants.rest.throttling.CallerThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "caller": env.str("API_RATE", default="6000/min"),
        "anonymous": env.str("API_ANONYMOUS_RATE", default="60/min"),
    },
    "EXCEPTION_HANDLER": "controlplane.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_METADATA_CLASS": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tenant control plane",
    "VERSION": "1",
    "DESCRIPTION": "Provision, suspend, rotate, restore and prove tenants of a multi-tenant PostgreSQL.",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SERVERS": [{"url": PUBLIC_URL}],
    "ENUM_NAME_OVERRIDES": {
        "TenantState": "tenants.models.tenants.Tenant.State",
        "OperationState": "tenants.models.operations.Operation.State",
        "ClusterState": "tenants.models.clusters.Cluster.State",
        "PoolerState": "tenants.models.poolers.Pooler.State",
        "BackupState": "backups.models.backups.Backup.State",
        "KeptSchemaState": "backups.models.restores.KeptSchema.State",
        "BackupCopyState": "backups.models.backups.BackupCopy.State",
        "AlertSeverity": "monitoring.models.alerts.Severity",
        "AlertState": "monitoring.models.alerts.Alert.State",
        "AuditOutcome": "tenants.models.audit.AuditEvent.Outcome",
    },
}

# One number in all three places Redis needs it: a task that outlives it would be delivered twice. It would do no
# harm (operations are claimed by lease), only waste.
VISIBILITY_TIMEOUT_SECONDS = 12 * 3600
_visibility = {"visibility_timeout": VISIBILITY_TIMEOUT_SECONDS}
CELERY_BROKER_URL = REDIS_URL
# A web request must not wait for a broker that is down: its message is only a wake-up call.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    **_visibility,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = _visibility
CELERY_VISIBILITY_TIMEOUT = VISIBILITY_TIMEOUT_SECONDS
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_TASK_DEFAULT_QUEUE = env.str("CELERY_QUEUE", default="controlplane")
CELERY_BEAT_SCHEDULER = "controlplane.beat:Scheduler"
CELERY_BEAT_SYNC_EVERY = 10  # tasks sent: what is written down of when each was last sent
CELERY_BEAT_SCHEDULE = {
    "dispatch-operations": {
        "task": "tenants.dispatch_operations",
        "schedule": env.float("OPERATION_SWEEP_SECONDS", default=5),
        "options": {"expires": 5},
    },
    "worker-heartbeat": {"task": "tenants.worker_heartbeat", "schedule": 5.0, "options": {"expires": 10}},
    "fill-pools": {"task": "provisioning.fill_pools", "schedule": 10.0, "options": {"expires": 10}},
    "retire-logins": {"task": "provisioning.retire_logins", "schedule": 15.0, "options": {"expires": 15}},
    "rotate-due": {"task": "provisioning.rotate_due", "schedule": 60.0, "options": {"expires": 60}},
    "close-credentials": {"task": "provisioning.close_credentials", "schedule": 10.0, "options": {"expires": 10}},
    "close-migrators": {"task": "provisioning.close_migrators", "schedule": 10.0, "options": {"expires": 10}},
    "purge-due": {"task": "provisioning.purge_due", "schedule": 60.0, "options": {"expires": 60}},
    "reap-slots": {"task": "provisioning.reap_slots", "schedule": 15.0, "options": {"expires": 15}},
    "drop-scratch": {"task": "provisioning.drop_scratch", "schedule": crontab(minute=29)},
    "maintain-timeseries": {"task": "provisioning.maintain_timeseries", "schedule": crontab(minute=17)},
    "check-clusters": {"task": "tenants.check_clusters", "schedule": 300.0, "options": {"expires": 300}},
    # Also done by `seal_audit_log --follow`, which waits for no worker; whoever comes second finds nothing to do.
    "seal-audit-log": {"task": "tenants.seal_audit_log", "schedule": 4.0, "options": {"expires": 4}},
    "checkpoint-audit-log": {"task": "tenants.checkpoint_audit_log", "schedule": 60.0, "options": {"expires": 60}},
    "verify-audit-log": {"task": "tenants.verify_audit_log", "schedule": 300.0, "options": {"expires": 300}},
    "verify-whole-audit-log": {"task": "tenants.verify_whole_audit_log", "schedule": crontab(hour=3, minute=23)},
    "check-isolation": {"task": "provisioning.check_isolation", "schedule": 300.0, "options": {"expires": 300}},
    "probe-new-tenants": {"task": "provisioning.probe_new_tenants", "schedule": 30.0, "options": {"expires": 30}},
    "check-poolers": {"task": "tenants.check_poolers", "schedule": 30.0, "options": {"expires": 30}},
    "sync-poolers": {"task": "tenants.sync_poolers", "schedule": 5.0, "options": {"expires": 5}},
    "start-due-backups": {"task": "backups.start_due", "schedule": 20.0, "options": {"expires": 20}},
    "expire-backups": {"task": "backups.expire_due", "schedule": crontab(minute=37)},
    "reap-backups": {"task": "backups.reap", "schedule": 120.0, "options": {"expires": 120}},
    "sweep-backup-storages": {"task": "backups.sweep_storages", "schedule": crontab(minute=53, hour="*/6")},
    "watch-backup-storages": {"task": "backups.watch_storages", "schedule": 120.0, "options": {"expires": 120}},
    "restore-drills": {"task": "backups.drills_due", "schedule": 60.0, "options": {"expires": 60}},
    "drop-kept-schemas": {"task": "backups.drop_kept", "schedule": 300.0, "options": {"expires": 300}},
    "verify-old-backups": {"task": "backups.verify_due", "schedule": crontab(minute="*/10")},
    "keep-archives": {"task": "backups.keep_archives", "schedule": 60.0, "options": {"expires": 60}},
    "look-at-tenants": {"task": "monitoring.look_at_tenants", "schedule": 60.0, "options": {"expires": 60}},
    "evaluate-alerts": {"task": "monitoring.evaluate_alerts", "schedule": 15.0, "options": {"expires": 15}},
    "send-notifications": {"task": "monitoring.send_notifications", "schedule": 5.0, "options": {"expires": 5}},
    "forget-old-alerts": {"task": "monitoring.forget_old_alerts", "schedule": crontab(hour=4, minute=13)},
    "roll-up-samples": {"task": "monitoring.roll_up", "schedule": 60.0, "options": {"expires": 60}},
    "roll-up-days": {"task": "monitoring.roll_up_days", "schedule": crontab(minute=43)},
    "drop-old-samples": {"task": "monitoring.drop_old_samples", "schedule": crontab(hour=4, minute=7)},
    "tidy-door": {"task": "door.tidy", "schedule": crontab(minute="*/10")},
    "forget-old-requests": {"task": "tenants.forget_old_requests", "schedule": crontab(minute=41)},
}

# Checkpoints of the audit log are signed with this Ed25519 key (32 bytes in base64) and written to these places.
# Newest first, `id:base64`: the first one wraps the keys of new backups, all of them open old ones.
BACKUP_ENCRYPTION_KEYS = [key.strip() for key in secret("BACKUP_ENCRYPTION_KEYS", default="").split(",") if key.strip()]
# The directory that `bootstrap` makes the first storage of; how backups are taken.
BACKUP_DIRECTORY = env.str("BACKUP_DIRECTORY", default="")
BACKUP_WORKERS = max(1, env.int("BACKUP_WORKERS", default=2))
BACKUP_COMPRESSION = min(19, max(1, env.int("BACKUP_COMPRESSION", default=1)))
BACKUP_CLUSTER_CONCURRENCY = max(1, env.int("BACKUP_CLUSTER_CONCURRENCY", default=2))
BACKUP_VERIFY_DAYS = max(1, env.int("BACKUP_VERIFY_DAYS", default=30))

# Who may read /metrics without METRICS_TOKEN, when no proxy is in between; how many tenants /metrics/tenants shows.
METRICS_NETWORKS = env.networks("METRICS_NETWORKS", default=["127.0.0.0/8", "::1/128"])
METRICS_TENANTS_MAX = max(1, env.int("METRICS_TENANTS_MAX", default=5000))

# How long samples are kept: as taken, over five minutes, over a day.
MONITORING_RAW_DAYS = max(1, env.int("MONITORING_RAW_DAYS", default=7))
MONITORING_5M_DAYS = max(1, env.int("MONITORING_5M_DAYS", default=90))
MONITORING_DAILY_DAYS = max(1, env.int("MONITORING_DAILY_DAYS", default=730))
# Alerts of one rule that begin within so many seconds are one message; critical ones are repeated.
ALERT_GROUP_SECONDS = max(0, env.int("ALERT_GROUP_SECONDS", default=30))
ALERT_REPEAT_SECONDS = max(60, env.int("ALERT_REPEAT_SECONDS", default=4 * 3600))
# Where the runbooks' pages are; private networks that messages may go to, e.g. to an Alertmanager.
RUNBOOK_URL = env.str("RUNBOOK_URL", default=f"{PUBLIC_URL}/admin/runbooks")
NOTIFY_ALLOWED_NETWORKS = env.list("NOTIFY_ALLOWED_NETWORKS", default=[])
EMAIL_HOST = env.str("EMAIL_HOST", default="localhost")
EMAIL_PORT = env.int("EMAIL_PORT", default=25)
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", default="")
EMAIL_HOST_PASSWORD = secret("EMAIL_HOST_PASSWORD", default="")
EMAIL_USE_TLS = env.bool("EMAIL_USE_TLS", default=False)
EMAIL_USE_SSL = env.bool("EMAIL_USE_SSL", default=False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", default="controlplane@localhost")
# How often probes look: at sessions, statements and servers; at the sizes of tenants.
MONITORING_INTERVAL_SECONDS = max(5.0, env.float("MONITORING_INTERVAL_SECONDS", default=60))
MONITORING_SIZES_SECONDS = max(5.0, env.float("MONITORING_SIZES_SECONDS", default=300))
for _name, _task, _seconds in (
    ("sweep-clusters", "monitoring.sweep_clusters", MONITORING_INTERVAL_SECONDS),
    ("sweep-control-plane", "monitoring.sweep_control_plane", MONITORING_INTERVAL_SECONDS),
    ("sweep-sizes", "monitoring.sweep_sizes", MONITORING_SIZES_SECONDS),
):
    CELERY_BEAT_SCHEDULE[_name] = {"task": _task, "schedule": _seconds, "options": {"expires": _seconds}}

AUDIT_SIGNING_KEY = secret("AUDIT_SIGNING_KEY", default="").strip()
AUDIT_PUBLIC_KEYS = env.list("AUDIT_PUBLIC_KEYS", default=[])
AUDIT_CHECKPOINT_URLS = [url.strip() for url in secret("AUDIT_CHECKPOINT_URLS", default="").split(",") if url.strip()]

# A retiring login that was in no use for so long may be closed before its deadline.
ROTATION_UNUSED_MINUTES = env.int("ROTATION_UNUSED_MINUTES", default=15)

# Tenants of each cluster whose own login tries at each check, and what is done with one that can reach too far.
ISOLATION_PROBE_SAMPLE = env.int("ISOLATION_PROBE_SAMPLE", default=5)
ISOLATION_ON_VIOLATION = env.choice("ISOLATION_ON_VIOLATION", ("report", "suspend"), default="report")

# A worker whose lease has run out is taken for dead, and its operation goes to another.
OPERATION_LEASE_SECONDS = env.float("OPERATION_LEASE_SECONDS", default=20)
OPERATION_RETRY_SECONDS = env.float("OPERATION_RETRY_SECONDS", default=2)
SLOT_BUILD_LEASE_SECONDS = env.float("SLOT_BUILD_LEASE_SECONDS", default=150)
POOL_REFILL_DELAY_SECONDS = env.float("POOL_REFILL_DELAY_SECONDS", default=3)

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Tenant control plane",
    "SITE_HEADER": "Tenant control plane",
    "SITE_SUBHEADER": "PostgreSQL fleet",
    "SITE_SYMBOL": "database",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_URL": None,
    "COLORS": {
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(67.3% .182 276.935)",
            "500": "oklch(58.5% .233 277.117)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        }
    },
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "controlplane.admin_site.favicon"}],
    "STYLES": ["controlplane.admin_site.colours_url", "controlplane.admin_site.stylesheet"],
    "SCRIPTS": ["controlplane.admin_site.script"],
    "ACCOUNT": {"navigation": [{"title": "Sign-in security", "link": "controlplane.admin_site.security_url"}]},
    "SIDEBAR": {"navigation": "controlplane.admin_site.navigation"},
    "DASHBOARD_CALLBACK": "controlplane.dashboard.dashboard_callback",
}

LOG_FORMAT = env.choice("LOG_FORMAT", ("json", "console"), default="json")
LOG_LEVEL = env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), default="INFO")
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True  # ProblemMiddleware has checked it
_processors: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
structlog.configure(
    processors=[*_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processor": structlog.processors.JSONRenderer(),
            "foreign_pre_chain": _processors,
        },
        "console": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processor": structlog.dev.ConsoleRenderer(colors=False),
            "foreign_pre_chain": _processors,
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "psycopg.pool": {"level": "ERROR"},
    },
}
