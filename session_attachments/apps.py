"""The app's configuration."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _


class SessionAttachmentsConfig(AppConfig):
    """Registers the system checks."""

    name = "session_attachments"
    verbose_name = _("Session attachments")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks."""
        from . import checks

        register(checks.check_middleware)
        register(checks.check_settings)
        register(checks.check_libmagic)
        register(checks.check_sessions, deploy=True)
        register(checks.check_storage, deploy=True)
        register(checks.check_quotas, deploy=True)
        register(checks.check_temporary_folder, deploy=True)
        register(checks.check_location, deploy=True)
