"""Which session key a session's attachments are filed under.

It is the key that the session had when it first came to the app. The session's data
remembers it, and so it travels through ``login()`` and ``cycle_key()``, where the
session's own key changes, and is lost with the data in ``flush()``.
"""

from django.contrib.sessions.backends.base import VALID_KEY_CHARS, SessionBase
from django.utils.crypto import get_random_string

VARIABLE = "_session_attachments_key"


def filing_key(session: SessionBase) -> str | None:
    """Return the key that ``session`` files under, or None for a client without one.

    A session that remembers no key remembers its own from here on, which saves it
    once.
    """
    # This loads the session. Until then its key is what the client claims.
    key = session.get(VARIABLE)
    if key is None and session.session_key is not None:
        key = session.session_key
        # The "key" of a signed cookie is its payload, which nobody has verified if
        # it did not load, and which changes with every save.
        if not session.exists(key):
            key = _random_key()
        session[VARIABLE] = key
    return key


def ensure_filing_key(session: SessionBase) -> str:
    """Return the key that ``session`` files under; start a session if need be."""
    key = filing_key(session)
    if key is None:
        session.create()
        # A signed cookie has no key before it is saved.
        key = session.session_key or _random_key()
        session[VARIABLE] = key
    return key


def _random_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)
