"""The letter, the attachments and the admin."""

from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.write, name="write"),
    path("letters/<int:pk>/", views.show, name="letter"),
    path("enclosures/<int:pk>/", views.download, name="enclosure"),
    path("leave/", views.leave, name="leave"),
    path("attachments/", include("session_attachments.urls")),
    path("admin/", admin.site.urls),
]
