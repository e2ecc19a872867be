"""The app's URLs, only for users who are logged in.

Include it instead of session_attachments.urls. With Django's LoginRequiredMiddleware
there is nothing to do.
"""

from django.contrib.auth.decorators import login_required
from django.urls import path

from session_attachments import urls

urlpatterns = [
    path(str(pattern.pattern), login_required(pattern.callback), name=pattern.name)
    for pattern in urls.urlpatterns
]
