"""The pages of the uploaders, and what they talk to."""

from django.urls import include, path

from . import views

UPLOADERS = ["jquery-form", "htmx", "dropzone", "filepond", "uppy", "uppy-tus"]

urlpatterns = [
    path("attachments/", include("session_attachments.urls")),
    path("htmx/files/", views.files, name="files"),
    *(path(f"{name}/", views.page, {"uploader": name}) for name in UPLOADERS),
]
