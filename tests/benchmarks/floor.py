"""The floor: views in plain Django that do the unavoidable, and nothing else.

They answer the same as the app's, at the same URLs, but check nothing: no limits, no
rules for names, no types from the content, no care for what fails half-way. As a
program this is the bare loop that removes what is outdated:

    python -m tests.benchmarks.floor
"""

import os
import secrets
from datetime import timedelta

import django
from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, JsonResponse
from django.urls import path
from django.utils import timezone

BATCH = 500


def _rows(request, bundle_id):
    from tests.benchmarks.models import Attachment

    # This loads the session.
    request.session.keys()
    return Attachment.objects.filter(
        session_id=request.session.session_key, bundle=bundle_id
    )


def _new_rows(request, rows, bundle_id):
    now = timezone.now()
    return [
        rows.model(
            created=now,
            session_id=request.session.session_key,
            bundle=bundle_id,
            file=default_storage.save(f"{now:%Y-%m-%d}/{secrets.token_hex(16)}", file),
            filename=file.name,
            size=file.size,
            mimetype=file.content_type,
        )
        for field in request.FILES
        for file in request.FILES.getlist(field)
    ]


def _listing(rows):
    return JsonResponse(
        [
            {
                "mimetype": row.mimetype,
                "size": row.size,
                "name": row.filename,
                "created": timezone.localtime(row.created).strftime("%Y-%m-%d %H:%M"),
            }
            for row in rows
        ],
        safe=False,
    )


def bundle(request, bundle_id):
    """GET: one select. POST: the form, a save for each file, one insert."""
    rows = _rows(request, bundle_id)
    if request.method == "GET":
        return _listing(rows.order_by("filename"))
    new = _new_rows(request, rows, bundle_id)
    if len(new) == 1:
        new[0].save(force_insert=True)
    else:
        rows.bulk_create(new)
    return _listing(new)


def replaced_bundle(request):
    """POST: one select, the form, one save, one update, one unlink."""
    rows = _rows(request, "replaced")
    (new,) = _new_rows(request, rows, "replaced")
    old = rows.filter(filename=new.filename).first()
    if old is None:
        new.save(force_insert=True)
    else:
        new.pk = old.pk
        new.save(force_update=True)
        os.unlink(default_storage.path(old.file))
    return _listing([new])


def delete_bundle(request, bundle_id):
    """POST: one select, an unlink for each file, one DELETE."""
    rows = _rows(request, bundle_id)
    names = list(rows.values_list("file", flat=True))
    for name in names:
        os.unlink(default_storage.path(name))
    rows.delete()
    return JsonResponse([[True]] * len(names), safe=False)


def download(request, bundle_id, file_name):
    """GET: one select, FileResponse."""
    row = _rows(request, bundle_id).get(filename=file_name)
    return FileResponse(
        default_storage.open(row.file),
        as_attachment=True,
        filename=row.filename,
        content_type=row.mimetype,
    )


urlpatterns = [
    path("attachments/replaced/", replaced_bundle),
    path("attachments/<str:bundle_id>/", bundle),
    path("attachments/<str:bundle_id>/delete/", delete_bundle),
    path("attachments/<str:bundle_id>/<str:file_name>/", download),
]


def remove_outdated():
    """Select what is older than a day, unlink, one DELETE for each batch."""
    from tests.benchmarks.models import Attachment

    outdated = Attachment.objects.filter(created__lt=timezone.now() - timedelta(days=1))
    while batch := list(outdated.values_list("pk", "file")[:BATCH]):
        for _, name in batch:
            os.unlink(os.path.join(settings.MEDIA_ROOT, name))
        outdated.filter(pk__in=[pk for pk, _ in batch]).delete()


if __name__ == "__main__":
    django.setup()
    remove_outdated()
