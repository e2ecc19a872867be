"""A validator that asks the daemon of the virus scanner ClamAV, through a socket.

It needs ``apt-get install clamav-daemon``. In your settings, as the last validator,
because the visitor waits for the scan::

    SESSION_ATTACHMENTS_VALIDATORS = ["yoursite.clamav.no_viruses"]

Only what clamd calls clean is stored. If it does not run, does not answer in time, or
answers anything else, the file is refused, and your log says why (let LOGGING send it
somewhere). In clamd.conf::

    StreamMaxLength 50M
    MaxFileSize 200M
    MaxScanSize 200M
    AlertExceedsMax yes

StreamMaxLength (Debian: 25M) must not be below SESSION_ATTACHMENTS_MAX_FILE_SIZE, or
larger files are refused. What exceeds the other two sizes, in an archive, clamd calls
clean without a look at it, unless AlertExceedsMax is on and the two are the same. What
is encrypted it calls clean too, unless you add "AlertEncrypted yes".
"""

import logging
import socket
from contextlib import suppress

from django.core.exceptions import ValidationError

CLAMD = "/run/clamav/clamd.ctl"  # or ("127.0.0.1", 3310)
TIMEOUT = 20  # seconds, for each step; your server must have more patience

logger = logging.getLogger(__name__)


def no_viruses(file):
    try:
        reply = ask_clamd(file)
    except OSError as error:
        reply = repr(error)
    if reply == "stream: OK\0":
        return
    if reply.startswith("stream: ") and reply.endswith(" FOUND\0"):
        raise ValidationError("The virus scanner does not accept this file.")
    logger.error("clamd has not scanned a file of %d bytes: %r", file.size, reply)
    if reply == "INSTREAM size limit exceeded. ERROR\0":
        raise ValidationError("This file is too large for the virus scanner.")
    raise ValidationError("The virus scanner does not answer. Please try later.")


def ask_clamd(file):
    family = socket.AF_UNIX if isinstance(CLAMD, str) else socket.AF_INET
    with socket.socket(family) as clamd:
        clamd.settimeout(TIMEOUT)
        clamd.connect(CLAMD)
        file.seek(0)
        # Past StreamMaxLength clamd answers, and hangs up.
        with suppress(BrokenPipeError, ConnectionResetError):
            clamd.sendall(b"zINSTREAM\0")
            while chunk := file.read(64 * 1024):
                clamd.sendall(len(chunk).to_bytes(4, "big") + chunk)
            clamd.sendall(bytes(4))  # a chunk of no bytes is the end
        file.seek(0)
        reply = b""
        while not reply.endswith(b"\0") and (data := clamd.recv(4096)):
            reply += data
    return reply.decode(errors="replace")
