"""Which types are of one kind, so that a name may refine what the content says."""

ZIP = "application/zip"
OLE = "application/x-ole-storage"
OFFICE = "application/vnd.openxmlformats-officedocument."
VISIO = "application/vnd.ms-visio."

# Types of text, besides text/*, message/*, and what ends as XML and JSON do.
TEXTUAL = {
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/mbox",
    "application/ndjson",
    "application/pem-certificate-chain",
    "application/pkcs10",
    "application/sql",
    "application/toml",
    "application/vnd.apple.mpegurl",
    "application/x-httpd-php",
    "application/x-ndjson",
    "application/x-plist",
    "application/x-sh",
    "application/x-subrip",
    "application/x-x509-ca-cert",
    "application/x-yaml",
    "application/xml",
    "application/xml-dtd",
    "application/yaml",
    "audio/x-mpegurl",
    "image/vnd.dxf",
    "image/x-xbitmap",
    "image/x-xpixmap",
    "model/obj",
    "model/step",
    "model/stl",
}

# What libmagic says of a container, or calls in another way than IANA does, and which
# types are such inside: one, or all that begin with what ends with a dot or slash.
IN_ZIP = (
    OFFICE,
    VISIO,
    "application/epub+zip",
    "application/java-archive",
    "application/oxps",
    "application/vnd.android.package-archive",
    "application/vnd.comicbook+zip",
    "application/vnd.google-earth.kmz",
    "application/vnd.ms-excel.",
    "application/vnd.ms-powerpoint.",
    "application/vnd.ms-word.",
    "application/vnd.ms-xpsdocument",
    "application/vnd.oasis.opendocument.",
    "application/vnd.recordare.musicxml",
    "application/vnd.sun.xml.",
    "application/x-xpinstall",
    "model/3mf",
    "model/vnd.usdz+zip",
)
IN_OLE = (
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.ms-outlook",
    "application/vnd.ms-powerpoint",
    "application/vnd.ms-project",
    "application/vnd.ms-publisher",
    "application/vnd.ms-works",
    "application/vnd.visio",
    "application/x-hwp",
    "application/x-msi",
)
IN_MP4 = (
    "audio/3gpp",
    "audio/mp4",
    "video/3gpp",
    "video/3gpp2",
    "video/mp4",
    "video/quicktime",
    "video/x-m4v",
)
IN_OGG = ("audio/ogg", "video/ogg")
CONTAINERS = {
    ZIP: IN_ZIP,
    f"{OFFICE}wordprocessingml.document": (
        f"{OFFICE}wordprocessingml.",
        "application/vnd.ms-word.",
    ),
    f"{OFFICE}spreadsheetml.sheet": (
        f"{OFFICE}spreadsheetml.",
        "application/vnd.ms-excel.",
    ),
    f"{OFFICE}presentationml.presentation": (
        f"{OFFICE}presentationml.",
        "application/vnd.ms-powerpoint.",
    ),
    f"{VISIO}drawing.main+xml": (VISIO,),
    "application/java-archive": (
        "application/vnd.android.package-archive",
        "application/x-xpinstall",
    ),
    OLE: IN_OLE,
    "audio/mp4": IN_MP4,
    "audio/x-m4a": IN_MP4,
    "video/3gpp": IN_MP4,
    "video/3gpp2": IN_MP4,
    "video/mp4": IN_MP4,
    "video/quicktime": IN_MP4,
    "video/x-m4v": IN_MP4,
    "application/ogg": IN_OGG,
    "audio/ogg": IN_OGG,
    "video/ogg": IN_OGG,
    "video/webm": ("audio/webm",),
    "video/x-matroska": ("audio/x-matroska", "audio/webm", "video/webm"),
    "video/x-ms-asf": ("audio/x-ms-wma", "video/x-ms-wmv"),
    "application/vnd.ms-opentype": ("font/otf",),
    "application/x-dosexec": ("application/vnd.microsoft.portable-executable",),
    "audio/vnd.dolby.dd-raw": ("audio/ac3",),
    "audio/x-hx-aac-adts": ("audio/aac",),
    "font/sfnt": ("font/",),
    "image/heif": ("image/heic",),
    "image/png": ("image/apng",),
    "image/x-ms-bmp": ("image/bmp",),
}

# What libmagic's versions call differently, or IANA does.
SYNONYMS = {
    "application/CDFV2": OLE,
    "application/vnd.ms-office": OLE,
    "application/x-bplist": "application/x-plist",
    "application/x-dxf": "image/vnd.dxf",
    "application/x-rar": "application/vnd.rar",
    "audio/AMR": "audio/amr",
    "image/x-pcx": "image/vnd.zbrush.pcx",
    "video/MP2T": "video/mp2t",
}


def may_refine(named: str, found: str) -> bool:
    """Whether a file that libmagic calls ``found`` may be of the type ``named``."""
    return any(
        named == mimetype
        or (mimetype.endswith((".", "/")) and named.startswith(mimetype))
        for mimetype in CONTAINERS.get(found, ())
    )


def is_textual(mimetype: str) -> bool:
    """Whether a file of the type ``mimetype`` is text."""
    return mimetype in TEXTUAL or (
        mimetype.startswith(("message/", "text/"))
        or (mimetype.endswith(("+json", "+xml", "-xml")) and VISIO not in mimetype)
    )
