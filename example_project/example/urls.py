"""The page, the attachments and the admin."""

from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.page, name="page"),
    path("attachments/", include("session_attachments.urls")),
    path("admin/", admin.site.urls),
]
