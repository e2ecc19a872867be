"""What can be wrong with an attachment: a stable code and a sentence."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.template.defaultfilters import filesizeformat
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# A full disk, a quota of the operating system, a limit of a file's size.
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

logger = logging.getLogger(__name__)


class AttachmentError(Exception):
    """Base of everything that the app refuses.

    ``code`` is stable and meant for programs, ``str(error)`` is a sentence for a
    person in the active language. ``name`` is the attachment it is about, if it is
    about one; ``limit`` is what was exceeded: bytes, or a count for
    ``too_many_files``.
    """

    code: str
    title: str | Promise
    detail: str | Promise

    def __init__(
        self, *, name: str | None = None, limit: int | None = None, message: str = ""
    ) -> None:
        super().__init__(name, limit, message)
        self.name = name
        self.limit = limit
        self.message = message

    def __str__(self) -> str:
        return str(self.detail) % {
            "name": self.name,
            "limit": self.limit,
            "size": filesizeformat(self.limit or 0),
            "message": self.message,
        }


class NoFile(AttachmentError):
    """The form has no file."""

    code = "no_file"
    title = _("No file")
    detail = _("The form contains no file.")


class IncompleteUpload(AttachmentError):
    """The body is cut short or is not a well-formed form."""

    code = "incomplete_upload"
    title = _("Incomplete upload")
    detail = _("The upload arrived incomplete or malformed. Please send it again.")


class ChunkedUpload(AttachmentError):
    """A piece of a file, which would be stored as if it were the file."""

    code = "chunked_upload"
    title = _("Upload in pieces")
    detail = _("The file came in pieces. Please send it as a whole.")


class BadForm(AttachmentError):
    """The form has more fields than DATA_UPLOAD_MAX_NUMBER_FIELDS."""

    code = "bad_form"
    title = _("Too many fields")
    detail = _("The form has too many fields.")


class BadName(AttachmentError):
    """The name of a file cannot be kept as it is."""

    code = "bad_name"
    title = _("Bad file name")
    detail = _(
        "The file name must have 1 to 255 characters, no slashes, no HTML entities "
        "and no invisible characters."
    )


class BadBundle(AttachmentError):
    """The bundle id cannot name a bundle."""

    code = "bad_bundle"
    title = _("Bad bundle id")
    detail = _(
        "A bundle id has 1 to 256 characters, no slashes and no control characters, "
        "and is not . or .. alone."
    )


class Invalid(AttachmentError):
    """One of SESSION_ATTACHMENTS_VALIDATORS said no; the detail has its message."""

    code = "invalid"
    title = _("File not accepted")
    # Translators: as in: The file “a.exe” is not accepted. Please send a PDF.
    detail = _("The file “%(name)s” is not accepted. %(message)s")


class FileTooLarge(AttachmentError):
    """A file is larger than SESSION_ATTACHMENTS_MAX_FILE_SIZE."""

    code = "file_too_large"
    title = _("File too large")
    detail = _("The file “%(name)s” is larger than %(size)s.")


class BundleTooLarge(AttachmentError):
    """The bundle would exceed SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE."""

    code = "bundle_too_large"
    title = _("Bundle too large")
    detail = _("The files would take more than %(size)s together.")


class TooManyFiles(AttachmentError):
    """More files than a form, or than a bundle, may have."""

    code = "too_many_files"
    title = _("Too many files")
    detail = _("No more than %(limit)s files are allowed.")


class SessionTooLarge(AttachmentError):
    """The session would exceed SESSION_ATTACHMENTS_MAX_SESSION_SIZE."""

    code = "session_too_large"
    title = _("Too much stored")
    detail = _("You would store more than %(size)s. Please remove some files first.")


class FormTooLarge(AttachmentError):
    """The form's fields, files aside, exceed DATA_UPLOAD_MAX_MEMORY_SIZE."""

    code = "form_too_large"
    title = _("Form too large")
    detail = _("The fields of the form are larger than %(size)s.")


class LengthRequired(AttachmentError):
    """A body without Content-Length, which Django does not read under WSGI."""

    code = "length_required"
    title = _("Length required")
    detail = _("The request must state its Content-Length.")


class UnsupportedMediaType(AttachmentError):
    """A body of a type that its URL and method do not take."""

    code = "unsupported_media_type"
    title = _("Unsupported media type")
    detail = _("A body with this Content-Type cannot be sent this way.")


class AttachmentNotFound(AttachmentError):
    """There is no such attachment in the session's bundle."""

    code = "not_found"
    title = _("Not found")
    detail = _("There is no such attachment.")


class AttachmentProtected(AttachmentError):
    """A foreign key protects the attachment (PROTECT or RESTRICT)."""

    code = "protected"
    title = _("Attachment in use")
    detail = _("The attachment is in use and cannot be removed or replaced.")


class WrongOffset(AttachmentError):
    """An upload does not continue where the request says; ``offset`` is where."""

    code = "wrong_offset"
    title = _("Wrong offset")
    detail = _("The upload continues elsewhere.")

    def __init__(self, *, offset: int) -> None:
        super().__init__()
        self.offset = offset


class UnsupportedVersion(AttachmentError):
    """A version of the tus protocol that is not spoken, or none."""

    code = "unsupported_version"
    title = _("Unsupported version")
    detail = _("This version of the tus protocol is not supported.")


class BadHeader(AttachmentError):
    """A header that is missing or not as its protocol says; ``name`` is its name."""

    code = "bad_header"
    title = _("Bad header")
    detail = _("The header %(name)s is missing or wrong.")


class AttachmentsGone(AttachmentError):
    """Attachments that were seen have been taken, removed or replaced meanwhile."""

    code = "gone"
    title = _("Attachments gone")
    detail = _(
        "Attachments have been sent or removed meanwhile. Please look at what is left."
    )


class InsufficientStorage(AttachmentError):
    """The disk is full; which one, the log says."""

    code = "insufficient_storage"
    title = _("No space left")
    detail = _("The server has no space left for this. Please try later.")


class MethodNotAllowed(AttachmentError):
    """The URL does not know the method."""

    code = "method_not_allowed"
    title = _("Method not allowed")
    detail = _("This method is not allowed here.")


@contextmanager
def refuse_full_disk() -> Iterator[None]:
    """Raise InsufficientStorage where the block finds no space left; log which."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        logger.exception("There is no space left for an upload.")
        raise InsufficientStorage from error
