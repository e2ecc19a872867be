"""Private, temporary file attachments that belong to a session."""

__version__ = "1.0.0"
