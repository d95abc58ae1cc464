"""Errors of content that cannot be parsed, is not supported or is too large."""

from core.errors.invalid import Invalid


class Malformed(Invalid):
    """The request cannot be parsed."""


class MalformedMultipart(Malformed):
    """The multipart body cannot be parsed."""


class Unsupported(Invalid):
    """This kind of content is not supported."""


class UnsupportedImage(Unsupported):
    """Images must be JPEG, PNG, WebP, GIF or BMP."""


class UnsupportedArchive(Unsupported):
    """An archive must be a zip, tar or tar.gz file."""


class UnsupportedMediaType(Unsupported):
    """This operation does not accept the body's Content-Type."""


class WeightsFormat(Unsupported):
    """Weights must be in the safetensors format."""


class TooLarge(Invalid):
    """The content exceeds a limit."""


class BodyTooLarge(TooLarge):
    """The body exceeds the size limit."""


class FileTooLarge(TooLarge):
    """The file exceeds the size limit."""


class ArchiveTooBig(TooLarge):
    """The archive unpacks to too much."""


class TooManyParts(TooLarge):
    """The form has too many parts."""


class QuotaExceeded(TooLarge):
    """The images do not fit into the storage quota: delete images that are not needed any more."""
