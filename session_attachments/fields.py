"""Fields whose behaviour is the same on every database and with every storage."""

from typing import Any

from django.core.files.storage import Storage, default_storage
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.files import FieldFile

from .files.storage import attachment_storage


class CodePointField(models.CharField):  # type: ignore[type-arg]
    """A CharField that compares and sorts by code point on every database.

    With its default collation MariaDB takes ``resume.pdf`` and ``Résumé.pdf``, or
    ``a`` and ``a`` with a trailing space, for the same name, and PostgreSQL sorts as
    its locale says. SQLite's default, BINARY, is what we want.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """Add a binary collation without padding to what CharField says."""
        parameters = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        elif connection.vendor == "mysql":
            mariadb = getattr(connection, "mysql_is_mariadb", True)
            parameters["collation"] = (
                "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
            )
        return parameters


class StoredFile(FieldFile):
    """A file that nobody reaches but through its attachment's download."""

    @property
    def url(self) -> str:
        """The download's URL: the storage is private, and has none to give away."""
        attachment: Any = self.instance
        return str(attachment.get_absolute_url())


class StoredFileField(models.FileField):
    """A FileField that looks its storage up at each use.

    ``storage=`` is evaluated once, at import, so ``override_settings`` would not reach
    it; and it would end up in the project's migrations.
    """

    attr_class = StoredFile

    @property
    def storage(self) -> Storage:
        """The storage that holds attachments now."""
        # FileField's constructor looks, too. A project's storage may import models,
        # which are not there yet.
        return attachment_storage() if hasattr(self, "upload_to") else default_storage

    @storage.setter
    def storage(self, value: Storage) -> None:
        """Ignore what FileField's constructor assigns."""

    def deconstruct(self) -> Any:
        """Leave the storage out of migrations."""
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("storage", None)
        return name, path, args, kwargs
