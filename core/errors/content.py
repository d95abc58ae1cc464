"""The content of a request cannot be parsed, is not accepted or is too large."""

from core.errors.invalid import Invalid


class Malformed(Invalid):
    """The request cannot be parsed."""


class MalformedMultipart(Malformed):
    """The multipart body cannot be parsed."""


class Unsupported(Invalid):
    """This kind of content is not taken."""


class UnsupportedImage(Unsupported):
    """Images must be JPEG, PNG, WebP, GIF or BMP."""


class UnsupportedMediaType(Unsupported):
    """The body's Content-Type is not one that this operation takes."""


class WeightsFormat(Unsupported):
    """Weights must be safetensors."""


class TooLarge(Invalid):
    """The content is over a cap."""


class BodyTooLarge(TooLarge):
    """The body is larger than the cap."""


class FileTooLarge(TooLarge):
    """The file is larger than the cap."""


class TooManyParts(TooLarge):
    """The form has more parts than the cap."""
