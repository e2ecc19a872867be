"""Which session key a session's attachments are filed under.

It is the key that the session had when it first came to the app. The session's data
remembers it, and so it travels through ``login()`` and ``cycle_key()``, where the
session's own key changes, and is lost with the data in ``flush()``:

============================================= ==========================================
What happens                                  Who reaches the attachments
============================================= ==========================================
the visitor logs in                           the visitor, with the new key
the key is cycled, the password is changed    the visitor, with the new key
the visitor logs out; ``flush()``             nobody; the command takes them
another user logs in, in the same session     nobody; the command takes them
the session expires                           nobody; the command takes them
============================================= ==========================================

With ``signed_cookies`` one sentence of the table is not true: Django cannot revoke a
signed cookie, so who kept one from before a logout still reaches the attachments with
it. A system check warns.

A key in a cookie is believed only if its session exists. A visitor without a session
gets one from an upload and from listing a bundle (unless a link on another site led
there), from nothing else. A request that changes nothing in the session does not save
it.

The session is loaded before the body of an upload comes, so a login or a logout
meanwhile costs neither the login nor the file. Not so under ASGI, and behind a proxy
that buffers requests: there Django hears of an upload when its body is whole, with the
cookie that was sent before it. If that session is gone by then, the upload starts
another one, whose cookie replaces the login's.
"""

from django.contrib.sessions.backends.base import (
    VALID_KEY_CHARS,
    SessionBase,
    UpdateError,
)
from django.utils.crypto import get_random_string

VARIABLE = "_session_attachments_key"

# As long as the column.
MAX_KEY = 40


def filing_key(session: SessionBase) -> str | None:
    """Return the key that ``session`` files under, or None for a client without one.

    A session that remembers no key remembers its own from here on, and is saved at
    once: at the end of a long request that would undo what others wrote meanwhile.
    """
    # This loads the session. Until then its key is what the client claims.
    key = session.get(VARIABLE)
    own = session.session_key
    # signed_cookies keeps the cookie's text as session_key even if its signature is
    # invalid; that session is empty.
    if key is None and own is not None and (session.keys() or session.exists(own)):
        modified = session.modified
        key = _remember(session)
        if not modified and not _save(session, own):
            return None
    return key


def has_filing_key(session: SessionBase) -> bool:
    """Whether ``session`` remembers a key, which one of 0.2 does not yet."""
    return VARIABLE in session


def ensure_filing_key(session: SessionBase) -> str:
    """Return the key that ``session`` files under; start a session if need be."""
    key = filing_key(session)
    if key is None:
        session.create()
        key = _remember(session)
    return key


def _save(session: SessionBase, own: str) -> bool:
    """Save ``session``, whose key is ``own``; empty it and return False if it is gone.

    Django need not save it again, but with signed_cookies, whose save() says that it
    has to: the cookie of the answer is the only place for the data.
    """
    session.modified = False
    try:
        session.save()
    except UpdateError:
        # Also raised where the database has failed.
        if session.exists(own):
            raise
        session.flush()
        return False
    return True


def _remember(session: SessionBase) -> str:
    """Let ``session`` remember its own key, if it is one, or a random one; return it.

    A signed cookie is its own key: its payload, which changes with every save.
    """
    own = session.session_key
    if own is None or not _is_plain(own) or not session.exists(own):
        own = get_random_string(32, VALID_KEY_CHARS)
    session[VARIABLE] = own
    return own


def _is_plain(key: str) -> bool:
    """Whether ``key`` is as Django makes them.

    MariaDB also finds a session by its key in capitals, or padded with spaces.
    """
    return len(key) <= MAX_KEY and set(key) <= set(VALID_KEY_CHARS)
