"""Views of a project that change the session."""

from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def login(request, username):
    """Log in as ``username``."""
    user, _created = User.objects.get_or_create(username=username)
    auth.login(request, user)
    return HttpResponse()


@csrf_exempt
def logout(request):
    """Log out."""
    auth.logout(request)
    return HttpResponse()


@csrf_exempt
def change_password(request):
    """Give the user a new password; this session stays."""
    request.user.set_password("new")
    request.user.save()
    auth.update_session_auth_hash(request, request.user)
    return HttpResponse()


@csrf_exempt
def cycle_key(request):
    """Give the session a new key."""
    request.session.cycle_key()
    return HttpResponse()


@csrf_exempt
def flush(request):
    """Throw the session away."""
    request.session.flush()
    return HttpResponse()


@csrf_exempt
def visit(request):
    """Use the session, as any page of a project may."""
    request.session["visited"] = True
    return HttpResponse()


@csrf_exempt
def buy(request):
    """Write into the session what another page of the project reads."""
    request.session["bought"] = True
    return HttpResponse()


def whoami(request):
    """Answer who is logged in."""
    return HttpResponse(request.user.get_username())
