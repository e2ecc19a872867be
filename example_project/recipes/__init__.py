"""Parts of a project that uses session_attachments, each to be copied by itself."""
