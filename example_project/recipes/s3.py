"""Settings: attachments in Amazon S3, or in a server that speaks its language.

They need django-storages: ``pip install "django-storages[s3]"``. Everything goes
through Django, which asks whose attachment it is; signed URLs are not used. A download
streams, and a range asks S3 for that range only. If S3 fails, an upload or a download
is an error (500, with the reason in your log), or a connection that breaks; what was
stored is still there.

The bucket:

* Keep it private.
* Grant s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket and
  s3:AbortMultipartUpload. Without s3:ListBucket S3 says "forbidden" of an object that
  is missing, and remove_outdated_attachments finds no files without an attachment.
* Let a lifecycle rule abort incomplete multipart uploads after a day: a process that is
  killed while it sends a large file leaves its parts behind, and no listing shows them.
* If it has versions, let another rule expire the old ones, or nothing that is deleted
  is gone.
"""

from botocore.config import Config

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "session_attachments": {
        "BACKEND": "storages.backends.s3.S3Storage",
        # Leave file_overwrite and default_acl out. Names are random: with
        # file_overwrite=False S3 would look each one up before it is stored.
        # object_parameters, of an encryption, say, hold for uploads and downloads.
        "OPTIONS": {
            "bucket_name": "yoursite-attachments",
            "region_name": "eu-central-1",
            # Otherwise a request waits a minute for an S3 that hangs, and tries again.
            "client_config": Config(
                connect_timeout=3,
                read_timeout=10,
                retries={"mode": "standard", "total_max_attempts": 3},
            ),
        },
    },
}
