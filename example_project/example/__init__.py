"""An example of a host of session_attachments."""
