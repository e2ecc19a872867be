"""Sessions in each of Django's engines."""

import os
import socket
from importlib import import_module
from importlib.util import find_spec
from urllib.parse import urlsplit

import pytest
from django.contrib.sessions.backends.signed_cookies import (
    SessionStore as SignedCookies,
)
from django.core import signing
from django.core.cache import caches

REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
ENGINES = ["db", "cached_db", "cache", "cache on Redis", "file", "signed_cookies"]
STORED = [engine for engine in ENGINES if engine != "signed_cookies"]

# With what Django's engine salts the signature.
SIGNED = "django.contrib.sessions.backends.signed_cookies"


def redis_answers():
    """Whether the client is installed and something listens where Redis should."""
    address = urlsplit(REDIS)
    with socket.socket() as listener:
        refused = listener.connect_ex((address.hostname, address.port or 6379))
    return find_spec("redis") is not None and not refused


needs_redis = pytest.mark.skipif(not redis_answers(), reason=f"needs Redis at {REDIS}")


def each(engines):
    """Run the test on each of ``engines``."""
    marks = {"cache on Redis": [needs_redis, pytest.mark.server]}
    return pytest.mark.parametrize(
        "engine",
        [pytest.param(engine, marks=marks.get(engine, [])) for engine in engines],
        indirect=True,
    )


def settings_of(engine, folder):
    """Return the settings of a session engine whose data no other test has."""
    name, _, redis = engine.partition(" on ")
    backend = "redis.RedisCache" if redis else "locmem.LocMemCache"
    cache = {
        "BACKEND": f"django.core.cache.backends.{backend}",
        "LOCATION": REDIS,
        "KEY_PREFIX": str(folder),
    }
    return {
        "SESSION_ENGINE": f"django.contrib.sessions.backends.{name}",
        "SESSION_FILE_PATH": str(folder),
        "CACHES": {"default": cache},
    }


@pytest.fixture
def engine(request, settings, tmp_path):
    """Let sessions live in the engine that the test names; yield its SessionStore."""
    for name, value in settings_of(request.param, tmp_path).items():
        setattr(settings, name, value)
    yield import_module(settings.SESSION_ENGINE).SessionStore
    if "Redis" in request.param:
        for pool in caches["default"]._cache._pools.values():
            pool.disconnect()


def expire(store, key):
    """Let the session that ``key`` opens run out of time; return its cookie then."""
    session = store(key)
    session.set_expiry(-1)
    session.save()
    if not issubclass(store, SignedCookies):
        return key
    # What has no other place carries its age itself: signed in 1970.
    data, _, _ = key.rsplit(":", 2)
    cookie = signing.Signer(salt=SIGNED).sign(f"{data}:{signing.b62_encode(0)}")
    assert signing.loads(cookie, salt=SIGNED) == signing.loads(key, salt=SIGNED)
    return cookie
