"""The settings: defaults, units, and what a wrong value says."""

from decimal import Decimal

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.middleware.csrf import CsrfViewMiddleware

from session_attachments.conf import conf

SIZES = {
    "SESSION_ATTACHMENTS_MAX_FILE_SIZE": "max_file_size",
    "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": "max_bundle_size",
    "SESSION_ATTACHMENTS_MAX_SESSION_SIZE": "max_session_size",
}
QUOTAS = [
    "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE",
    "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES",
    "SESSION_ATTACHMENTS_MAX_SESSION_SIZE",
]
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"


class OwnCsrfMiddleware(CsrfViewMiddleware):
    """A project's own."""


def function_middleware(get_response):
    return get_response


def refuse(file):
    """Stand for a project's validator."""


NOT_CALLABLE = "a project's mistake"


def said(name):
    """Return what ``conf`` raises for a property."""
    with pytest.raises(ImproperlyConfigured) as raised:
        getattr(conf, name)
    return str(raised.value)


class TestDefaults:
    def test_file_size_is_50_mb(self):
        assert conf.max_file_size == 50 * 1024 * 1024
        assert conf.max_file_megabytes == 50

    def test_quotas_are_none(self):
        assert conf.max_bundle_size is None
        assert conf.max_bundle_files is None
        assert conf.max_session_size is None
        assert not conf.has_quota

    def test_validators_are_none(self):
        assert conf.validators == []

    def test_accel_is_off(self):
        assert conf.accel is None


@pytest.mark.parametrize(("setting", "name"), SIZES.items())
class TestSizes:
    @pytest.mark.parametrize(
        ("megabytes", "size"),
        [
            (None, None),
            (0, 0),
            (0.0, 0),
            (1, 1024 * 1024),
            (0.5, 512 * 1024),
            (1.25, 1280 * 1024),
            (1 / 1024 / 1024, 1),
            (100_000, 100_000 * 1024 * 1024),
        ],
    )
    def test_size_is_in_mb_of_1024_times_1024(
        self, settings, setting, name, megabytes, size
    ):
        setattr(settings, setting, megabytes)

        assert getattr(conf, name) == size

    def test_size_is_whole_bytes(self, settings, setting, name):
        setattr(settings, setting, 0.3)

        assert getattr(conf, name) == 314572
        assert isinstance(getattr(conf, name), int)

    @pytest.mark.parametrize(
        "value",
        [
            *("5", "", b"5", True, False, [5], (), {}, Decimal(5), object),
            *(-1, -0.001, float("nan"), float("inf"), float("-inf")),
            # More than a database's integers hold, or a float.
            1e308,
            pytest.param(10**400, id="huge"),
        ],
    )
    def test_wrong_size_names_the_setting(self, settings, setting, name, value):
        setattr(settings, setting, value)

        sentence = said(name)

        assert sentence.split()[0] == setting
        assert repr(value) in sentence


class TestFileMegabytes:
    def test_megabytes_are_as_written(self, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 2.5

        assert conf.max_file_megabytes == 2.5

    def test_megabytes_may_be_none(self, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None

        assert conf.max_file_megabytes is None


class TestBundleFiles:
    @pytest.mark.parametrize("value", [None, 0, 1, 10**9])
    def test_count_is_as_written(self, settings, value):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = value

        assert conf.max_bundle_files == value

    @pytest.mark.parametrize("value", [-1, 1.0, 1.5, "3", True, False, [], Decimal(3)])
    def test_wrong_count_names_the_setting(self, settings, value):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = value

        sentence = said("max_bundle_files")

        assert sentence.split()[0] == "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES"
        assert repr(value) in sentence


class TestQuota:
    @pytest.mark.parametrize("setting", QUOTAS)
    def test_quota_is_any_of_three(self, settings, setting):
        setattr(settings, setting, 0)

        assert conf.has_quota

    def test_file_size_is_no_quota(self, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1

        assert not conf.has_quota


class TestValidators:
    @pytest.mark.parametrize("kind", [list, tuple])
    def test_validators_are_imported(self, settings, kind):
        settings.SESSION_ATTACHMENTS_VALIDATORS = kind(["tests.test_conf.refuse"])

        assert conf.validators == [refuse]

    @pytest.mark.parametrize("value", [None, "tests.test_conf.refuse", {}, 1, refuse])
    def test_wrong_type_names_the_setting(self, settings, value):
        settings.SESSION_ATTACHMENTS_VALIDATORS = value

        sentence = said("validators")

        assert sentence.startswith("SESSION_ATTACHMENTS_VALIDATORS must be a list")
        assert repr(value) in sentence

    @pytest.mark.parametrize(
        "value", [None, 1, refuse, "tests.test_conf.NOT_CALLABLE", b"math.sqrt"]
    )
    def test_wrong_entry_names_the_setting(self, settings, value):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [value]

        sentence = said("validators")

        assert sentence.startswith("SESSION_ATTACHMENTS_VALIDATORS must hold dotted")
        assert repr(value) in sentence

    @pytest.mark.parametrize(
        "path",
        ["", "refuse", "tests.nowhere.refuse", "tests.test_conf.nothing", ".a", "..b"],
    )
    def test_path_that_leads_nowhere_names_the_setting(self, settings, path):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [path]

        assert said("validators").startswith("SESSION_ATTACHMENTS_VALIDATORS: ")


class TestAccel:
    @pytest.mark.parametrize("kind", [list, tuple])
    @pytest.mark.parametrize(
        "pair", [("X-Accel-Redirect", "/protected/"), ("X-Sendfile", "")]
    )
    def test_accel_is_a_pair(self, settings, kind, pair):
        settings.SESSION_ATTACHMENTS_ACCEL = kind(pair)

        assert conf.accel == pair

    @pytest.mark.parametrize(
        "value",
        [
            *("X-Accel-Redirect", "ab", b"ab", True, 0, {}, [], ()),
            *(["X-Sendfile"], ["X-Sendfile", "/", "/"], ["X-Sendfile", None]),
            *([None, "/"], [1, "/"], {"X-Sendfile": "/", "X": "/"}),
            *(["", "/"], ["-", "/"], ["X Sendfile", "/"], ["X-Sendfile:", "/"]),
            # What no header can be or hold.
            *(["X-Sendfilé", "/"], ["X\n", "/"], ["X-Sendfile", "/a\r\nSet-Cookie: a"]),
            ["X-Sendfile", "/данные/"],
        ],
    )
    def test_wrong_accel_names_the_setting(self, settings, value):
        settings.SESSION_ATTACHMENTS_ACCEL = value

        sentence = said("accel")

        assert sentence.split()[0] == "SESSION_ATTACHMENTS_ACCEL"
        assert repr(value) in sentence


class TestCsrfMiddleware:
    def test_csrf_middleware_is_djangos(self, settings):
        settings.MIDDLEWARE = [COMMON, CSRF]

        assert conf.csrf_middleware is CsrfViewMiddleware

    def test_csrf_middleware_may_be_a_subclass(self, settings):
        settings.MIDDLEWARE = [COMMON, "tests.test_conf.OwnCsrfMiddleware"]

        assert conf.csrf_middleware is OwnCsrfMiddleware

    @pytest.mark.parametrize("others", [[], [COMMON]])
    def test_csrf_middleware_may_be_absent(self, settings, others):
        settings.MIDDLEWARE = others

        assert conf.csrf_middleware is None

    def test_csrf_middleware_is_found_behind_a_function(self, settings):
        function = "tests.test_conf.function_middleware"
        settings.MIDDLEWARE = [function, CSRF]

        assert conf.csrf_middleware is CsrfViewMiddleware
        assert function_middleware(refuse) is refuse


class TestDjangosLimits:
    def test_limits_are_djangos(self, settings):
        settings.DATA_UPLOAD_MAX_NUMBER_FILES = 7
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None

        assert conf.max_number_of_files == 7
        assert conf.max_form_size is None
