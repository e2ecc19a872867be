"""Build the distributions, and use the wheel as a stranger would.

Not a test that pytest collects: it needs an index to install Django from. The
environment ``package`` of tox.ini runs it.
"""

import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import URLError
from urllib.request import HTTPCookieProcessor, Request, build_opener
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "session_attachments"
# Nothing of the checkout and of this environment reaches the stranger's one.
OUTSIDE = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PYTHON", "DJANGO"))
}
URLS = """
urlpatterns += [path("attachments/", include("session_attachments.urls"))]
"""
SETTINGS = """
INSTALLED_APPS += ["session_attachments"]
MEDIA_ROOT = BASE_DIR / "media"
# This machine may have no libmagic.
SILENCED_SYSTEM_CHECKS = ["session_attachments.W001"]
"""
BOUNDARY = "boundary"
UPLOAD = f"""--{BOUNDARY}\r
Content-Disposition: form-data; name="any"; filename="spam.txt"\r
\r
spam
\r
--{BOUNDARY}--\r
""".encode()


def run(*command, cwd):
    print("$", *command, flush=True)
    return subprocess.run(command, cwd=cwd, env=OUTSIDE, check=True)


def output(*command, cwd):
    print("$", *command, flush=True)
    return subprocess.check_output(command, cwd=cwd, env=OUTSIDE, text=True)


def build(folder):
    """Build the wheel from the sdist, so that the sdist is known to be complete."""
    run(sys.executable, "-m", "build", "-q", "--outdir", folder, ROOT, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, cwd=folder)
    return sdist, wheel


def files_below(folder):
    made = {"__pycache__", "node_modules"}
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not made & {*path.parts}
    }


def check_wheel(wheel):
    names = set(ZipFile(wheel).namelist())
    modules = {name for name in names if ".dist-info/" not in name}
    assert modules == files_below(PACKAGE), modules ^ files_below(PACKAGE)
    for path in (
        "management/commands/remove_outdated_attachments.py",
        "migrations/0001_initial.py",
        "py.typed",
    ):
        assert f"session_attachments/{path}" in names, path
    sources = list(PACKAGE.glob("locale/*/LC_MESSAGES/*.po"))
    assert sources, "no translation"
    for source in sources:
        assert source.with_suffix(".mo").exists(), f"{source} is not compiled"
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def check_sdist(sdist):
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members}
    expected = {"CHANGELOG.rst", "LICENSE", "README.rst", "setup.cfg", "tox.ini"}
    expected |= files_below(PACKAGE) | files_below(ROOT / "tests")
    assert expected <= names, expected - names
    assert "example_project/manage.py" in names, "no example project"
    assert {(member.uname, member.gname) for member in members} == {("root", "root")}


def make_project(folder, wheel):
    """Return the Python of an empty environment, and a new project's manage.py."""
    environment, project = folder / "environment", folder / "project"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    project.mkdir()
    run(python, "-m", "django", "startproject", "foreign", project, cwd=folder)
    with (project / "foreign" / "settings.py").open("a") as settings:
        settings.write(SETTINGS)
    urls = project / "foreign" / "urls.py"
    text = urls.read_text().replace("import path", "import include, path") + URLS
    urls.write_text(text)
    return python, project / "manage.py"


@contextmanager
def server(*manage, cwd):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*manage, "runserver", "--noreload", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=cwd, env=OUTSIDE) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


class Browser:
    """A client with cookies that sends the token, as a page's script does."""

    def __init__(self, site):
        self.site = site
        self.cookies = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.cookies))

    def open(self, path, body=None):
        tokens = {cookie.name: cookie.value for cookie in self.cookies}
        headers = {"X-CSRFToken": tokens.get("csrftoken", "")}
        if body:
            headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
        with self.opener.open(Request(self.site + path, body, headers)) as response:
            return response.read()

    def wait(self, path):
        for _ in range(120):
            try:
                return self.open(path)
            except URLError as error:
                if not isinstance(error.reason, ConnectionRefusedError):
                    raise
                time.sleep(0.5)
        raise TimeoutError(path)


def use(python, manage):
    project = manage.parent
    command = [python, "-X", "dev", "-W", "error", manage]
    run(*command, "check", "--fail-level", "WARNING", cwd=project)
    run(*command, "migrate", "--verbosity=0", cwd=project)
    run(*command, "makemigrations", "--check", "--dry-run", cwd=project)
    with server(*command, cwd=project) as site:
        browser = Browser(site)
        browser.wait("/admin/login/")  # sets the token's cookie
        assert json.loads(browser.open("/attachments/foo/")) == []
        uploaded = json.loads(browser.open("/attachments/foo/", UPLOAD))
        assert [(a["name"], a["size"]) for a in uploaded] == [("spam.txt", 5)], uploaded
        assert json.loads(browser.open("/attachments/foo/")) == uploaded
        assert browser.open("/attachments/foo/spam.txt/") == b"spam\n"
        remove = ["remove_outdated_attachments", "--older-than=0"]
        print(output(*command, *remove, cwd=project), end="")
        assert json.loads(browser.open("/attachments/foo/")) == []


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        sdist, wheel = build(folder)
        check_sdist(sdist)
        check_wheel(wheel)
        use(*make_project(folder, wheel))
    print("The distributions are whole, and the wheel works in a foreign project.")


if __name__ == "__main__":
    main()
