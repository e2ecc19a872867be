"""The app's URLs, which keep the names of 0.2.

Those of files do without the slash at the end, too: ``curl -T report.pdf`` adds a name
to the URL of a bundle. They have no names, so that reverse() gives 0.2's.
"""

from django.urls import path

from . import views

urlpatterns = [
    path("<str:bundle_id>/", views.bundle_attachments, name="bundle-attachments"),
    path(
        "<str:bundle_id>/delete/",
        views.delete_bundle_attachments,
        name="delete-bundle-attachments",
    ),
    path(
        "<str:bundle_id>/<str:file_name>/",
        views.get_filename_attachment,
        name="get-filename-attachment",
    ),
    path(
        "<str:bundle_id>/<str:file_name>/delete/",
        views.delete_filename_attachment,
        name="delete-filename-attachment",
    ),
    path(
        "<str:bundle_id>/<str:upload_id>/resume/",
        views.resume_attachment,
        name="resume-attachment",
    ),
    path("<str:bundle_id>/delete", views.delete_bundle_attachments),
    path("<str:bundle_id>/<str:file_name>", views.get_filename_attachment),
]
