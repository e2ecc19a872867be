"""The recipe for e-mail, sent to a server in a thread."""

from contextlib import contextmanager
from email import message_from_bytes, policy
from smtplib import SMTPDataError
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread

import django
import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.core.mail import EmailMessage

from recipes.mail import send
from session_attachments.bundles import Bundle

pytestmark = pytest.mark.django_db(transaction=True)

FILES = {
    "mac.csv": b"one\rtwo\r",
    "old.eml": b"Subject: \xe4\r\n\r\n\xf6\n.\n",
    "page.html": b"<p>\xff\0" + b"x" * 2000,
    "spam.txt": b"one\r\ntwo\r\n",
}


class SMTP(StreamRequestHandler):
    """One connection to a mail server, which takes a message or has no room."""

    def handle(self):
        self.answer("220 here")
        for line in self.rfile:
            match line.split()[0].upper():
                case b"DATA":
                    self.answer("354 go on")
                    self.answer(self.receive())
                case b"QUIT":
                    self.answer("221 bye")
                case _:
                    self.answer("250 fine")

    def answer(self, reply):
        self.wfile.write(f"{reply}\r\n".encode())

    def receive(self):
        lines = list(iter(self.rfile.readline, b".\r\n"))
        if self.server.is_full:
            return "452 no room"
        # A dot at the start of a line comes twice.
        text = b"".join(line.removeprefix(b".") for line in lines)
        self.server.received.append(message_from_bytes(text, policy=policy.SMTP))
        return "250 taken"


@contextmanager
def mail_server(settings):
    """Run a mail server, to which Django sends; yield it."""
    with TCPServer(("127.0.0.1", 0), SMTP) as server:
        server.received, server.is_full = [], False
        send_to(settings, *server.server_address)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send_to(settings, host, port):
    """Let Django send e-mails there."""
    backend = "django.core.mail.backends.smtp.EmailBackend"
    options = {"host": host, "port": port, "timeout": 20}
    new = {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    old = {"EMAIL_BACKEND": backend, "EMAIL_HOST": host, "EMAIL_PORT": port}
    for name, value in (new if django.VERSION >= (6, 1) else old).items():
        setattr(settings, name, value)


@pytest.fixture
def bundle():
    """Return a bundle of files that mail programs like to change."""
    bundle = Bundle(SessionStore(), "foo")
    bundle.add(*(ContentFile(content, name) for name, content in FILES.items()))
    return bundle


@pytest.fixture
def message():
    return EmailMessage(body="See attachments.", to=["you@example.org"])


def contents(bundle):
    """Return names and contents of what is in the bundle."""
    files = {}
    for attachment in bundle:
        with attachment.open() as file:
            files[file.name] = file.read()
    return files


def test_attachments_arrive_byte_by_byte(settings, bundle, message, stored):
    with mail_server(settings) as server:
        send(message, bundle)

    (received,) = server.received
    assert {
        part.get_filename(): part.get_content() for part in received.iter_attachments()
    } == FILES
    assert len(bundle) == 0
    assert stored() == []


def test_server_that_refuses_leaves_everything(settings, bundle, message):
    with mail_server(settings) as server:
        server.is_full = True

        with pytest.raises(SMTPDataError, match="no room"):
            send(message, bundle)

    assert server.received == []
    assert contents(bundle) == FILES


def test_server_that_is_gone_leaves_everything(settings, bundle, message):
    with mail_server(settings):
        pass

    with pytest.raises(ConnectionRefusedError):
        send(message, bundle)

    assert contents(bundle) == FILES
