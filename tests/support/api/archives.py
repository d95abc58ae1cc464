"""Archives of every kind that a client may send."""

import io
import tarfile
import zipfile
from collections.abc import Mapping

Files = Mapping[str, bytes]


def zipped(files: Files, *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return out.getvalue()


def tarred(files: Files, mode: str = "w") -> bytes:
    """A tar of files; with mode `w:gz` a tar.gz."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return out.getvalue()


def tar_with(**fields: object) -> bytes:
    """A tar of one header with these fields."""
    out = io.BytesIO()
    header = tarfile.TarInfo("boot/a.png")
    for name, value in fields.items():
        setattr(header, name, value)
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(header, io.BytesIO(bytes(header.size)))
    return out.getvalue()


def tar_header(name: str) -> bytes:
    """The header of an empty file."""
    return tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT)


def tar_attributes(kind: bytes, **attributes: str) -> bytes:
    """Attributes in front of a header: of its file (type `x`), or of all that follow (`g`)."""
    create = tarfile.TarInfo._create_pax_generic_header  # type: ignore[attr-defined]
    return create(attributes, kind, "utf-8")


def zip_with_link() -> bytes:
    """A zip whose one entry is a symbolic link, which only the directory at its end tells."""
    out, entry = io.BytesIO(), zipfile.ZipInfo("boot/a.png")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


def encrypted_zip() -> bytes:
    """A zip whose one entry says that it is encrypted."""
    data = bytearray(zipped({"boot/a.png": b"secret"}))
    data[6] |= 1  # the flags of the entry
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    return bytes(data)
