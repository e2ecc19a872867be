"""The pages of the uploaders, and the example project with two more for a letter."""

from django.urls import include, path

from . import editing, generic, views

UPLOADERS = ["jquery-form", "htmx", "dropzone", "filepond", "uppy", "uppy-tus"]

urlpatterns = [
    path("htmx/files/", views.files, name="files"),
    *(path(f"{name}/", views.page, {"uploader": name}) for name in UPLOADERS),
    path("letters/<int:pk>/edit/", editing.edit, name="edit"),
    path("write/", generic.WriteLetter.as_view()),
    path("", include("example.urls")),
]
