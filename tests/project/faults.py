"""What answers in the place of the app: a proxy, a login, a server that is broken."""

import time
from threading import Event

from django.http import HttpResponse
from django.shortcuts import redirect

SIGN_IN = "/sign-in/"
HTML = "<!doctype html><title>Sign in</title><h1>Sign in</h1>"
OTHERS = {
    "cut": lambda: HttpResponse('[{"mimetype": "te', "application/json"),
    "empty": lambda: HttpResponse(),
    "html": lambda: HttpResponse(HTML),
    "login": lambda: redirect(SIGN_IN),
}


class Faults:
    """Answers requests to the app as the cookie for their method says.

    In ``faults-POST=503.html`` each request uses one up; in ``503.ever`` none does.
    With ``late`` the app answers, which is told a second after the next DELETE only.
    """

    def __init__(self, get_response):
        self.get_response = get_response
        self.deleted = Event()

    def __call__(self, request):
        if request.path == SIGN_IN:
            return HttpResponse(HTML)
        cookie = f"faults-{request.method}"
        fault, *left = request.COOKIES.get(cookie, "").split(".")
        if not fault or not request.path.startswith("/attachments/"):
            response = self.get_response(request)
            if request.method == "DELETE":
                self.deleted.set()
            return response
        if fault == "late":
            self.deleted.clear()
            response = self.get_response(request)
            self.deleted.wait(20)
            # After the answer to that, and what the page asks then.
            time.sleep(1)
            response.set_cookie(cookie, "")
            return response
        # Else the server would break the line instead of answering.
        while request.read(1024 * 1024):
            pass
        response = OTHERS[fault]() if fault in OTHERS else broken(fault)
        if left != ["ever"]:
            response.set_cookie(cookie, ".".join(left))
        return response


def broken(status):
    """Return the page of a proxy, with ``status`` and perhaps seconds to wait."""
    status, _, seconds = status.partition("-")
    headers = {"Retry-After": seconds} if seconds else {}
    return HttpResponse(HTML, status=int(status), headers=headers)
