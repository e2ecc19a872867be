"""The floor: views in plain Django that do the unavoidable, and nothing else.

They answer the same as the app's, at the same URLs, but check nothing: no limits, no
rules for names, no types from the content, no care for what fails half-way. (What
belongs together is one transaction, and files go by the storage, after the commit: no
view could do less and keep its files.) As a program this is the bare loop that removes
what is outdated:

    python -m tests.benchmarks.floor
"""

import secrets
from datetime import timedelta

import django
from django.core.files.storage import default_storage
from django.db import transaction
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
    return JsonResponse([_described(*row) for row in rows], safe=False)


def _described(mimetype, size, filename, created):
    created = timezone.localtime(created).strftime("%Y-%m-%d %H:%M")
    return {"mimetype": mimetype, "size": size, "name": filename, "created": created}


def _new_listing(rows):
    return _listing((row.mimetype, row.size, row.filename, row.created) for row in rows)


def bundle(request, bundle_id):
    """GET: one select. POST: the form, a save for each file, one insert."""
    rows = _rows(request, bundle_id)
    if request.method == "GET":
        columns = ("mimetype", "size", "filename", "created")
        return _listing(rows.order_by("filename").values_list(*columns))
    new = _new_rows(request, rows, bundle_id)
    if len(new) == 1:
        new[0].save(force_insert=True)
    else:
        rows.bulk_create(new)
    return _new_listing(new)


def replaced_bundle(request):
    """POST: the form, one save; a select and an update together; one deletion."""
    rows = _rows(request, "replaced")
    (new,) = _new_rows(request, rows, "replaced")
    with transaction.atomic():
        old = rows.select_for_update().filter(filename=new.filename).first()
        if old:
            new.pk = old.pk
        new.save(force_insert=not old, force_update=bool(old))
    if old:
        default_storage.delete(old.file)
    return _new_listing([new])


def delete_bundle(request, bundle_id):
    """POST: a select and a DELETE together, one deletion for each file."""
    rows = _rows(request, bundle_id)
    with transaction.atomic():
        names = list(rows.select_for_update().values_list("file", flat=True))
        rows.delete()
    for name in names:
        default_storage.delete(name)
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
    """Select what is older than a day, one DELETE for each batch, its files."""
    from tests.benchmarks.models import Attachment

    outdated = Attachment.objects.filter(created__lt=timezone.now() - timedelta(days=1))
    while batch := list(outdated.values_list("pk", "file")[:BATCH]):
        outdated.filter(pk__in=[pk for pk, _ in batch]).delete()
        for _, name in batch:
            default_storage.delete(name)


if __name__ == "__main__":
    django.setup()
    remove_outdated()
