"""The URLs of the project that the settings have chosen."""

from django.conf import settings
from django.urls import include, path

match settings.PROJECT:
    case "floor":
        from tests.benchmarks import floor

        urlpatterns = floor.urlpatterns
    case "app":
        urlpatterns = [path("attachments/", include("session_attachments.urls"))]
    case "drf-filepond":
        urlpatterns = [path("filepond/", include("django_drf_filepond.urls"))]
    case "file-form":
        urlpatterns = [path("form/", include("django_file_form.urls"))]
    case "private-storage":
        urlpatterns = [path("private/", include("private_storage.urls"))]
