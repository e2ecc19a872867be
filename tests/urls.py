"""The URLs of the tests' host."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("attachments/", include("session_attachments.urls")),
    path("admin/", admin.site.urls),
]
