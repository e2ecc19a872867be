"""Send attachments by e-mail, byte by byte as they were uploaded.

The message goes out before the attachments are removed: a mail server that fails
leaves everything as it was. Set a timeout (EMAIL_TIMEOUT; from Django 6.1 "timeout" in
the OPTIONS of MAILERS), and try again with a new message. A commit that fails after it
may send twice.

SQLite is locked while the mail server is waited for: there keep first and send after
the block, as ``send()`` in example/views.py does.
"""


def send(message, bundle):
    """Send ``message``, an EmailMessage, with all attachments of ``bundle``."""
    with bundle.take() as attachments:
        for attachment in attachments:
            with attachment.open() as file:
                # Of a type like text/* or message/* it would be encoded anew.
                message.attach(file.name, file.read(), "application/octet-stream")
        message.send()
