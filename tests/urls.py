"""The URLs of the tests' project."""

from django.contrib import admin
from django.urls import include, path

from tests.project import views

urlpatterns = [
    path("attachments/", include("session_attachments.urls")),
    path("admin/", admin.site.urls),
    path("login/<str:username>/", views.login),
    path("logout/", views.logout),
    path("change-password/", views.change_password),
    path("cycle-key/", views.cycle_key),
    path("flush/", views.flush),
    path("visit/", views.visit),
    path("buy/", views.buy),
    path("whoami/", views.whoami),
]
