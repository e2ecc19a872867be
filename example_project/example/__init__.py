"""An example of a project that uses session_attachments."""
