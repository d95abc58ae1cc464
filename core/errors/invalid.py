"""Errors of requests that are not valid."""

from core.errors.root import PerennialError


class Invalid(PerennialError):
    """The request is not valid."""


class FieldInvalid(Invalid):
    """A field has a value that is not allowed."""


class FieldUnknown(Invalid):
    """The request has an unknown field."""


class ClassInvalid(Invalid):
    """A class name must be 1 to 100 printable characters, not all of them invisible."""


class CaptionInvalid(Invalid):
    """A caption must be 1 to 500 printable characters, not all of them invisible."""


class NameInvalid(Invalid):
    """A name must be 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit."""


class PromptInvalid(Invalid):
    """A prompt template must have at most 200 printable characters and '{name}' exactly once."""


class PromptTooLong(Invalid):
    """A class's prompt is longer than the model's context length."""


class RecipeInvalid(Invalid):
    """The recipe has an unknown field or a value out of bounds."""


class TooFewPerClass(Invalid):
    """A class has too few images."""


class TooFewClasses(Invalid):
    """With this label space the update's loss would be zero: name at least two classes."""


class ImageCorrupt(Invalid):
    """The image is damaged or truncated."""


class ImageTooLarge(Invalid):
    """The image has too many pixels."""


class ImageAnimated(Invalid):
    """The image is animated: send the intended frame as a still image."""


class ImageErased(Invalid):
    """The image was erased, so it cannot be added or learned from again."""


class ImageInSuite(Invalid):
    """The image belongs to a suite or a holdout, so it must not be trained on."""


class SplitConflict(Invalid):
    """The image resembles known images on different sides or parts of the split: leave it out."""


class AllRejected(Invalid):
    """No file of the upload was accepted."""


class ArchiveUnsafe(Invalid):
    """The archive holds a path out of it, a link, another archive or something encrypted."""


class ArchiveCorrupt(Invalid):
    """The archive is damaged or truncated."""


class ArchiveEmpty(Invalid):
    """The archive holds no file to import."""


class ImageListInvalid(Invalid):
    """An image list must be UTF-8 and name a file and its class or caption in each entry."""


class BundleInvalid(Invalid):
    """The file is not a bundle of a version, or does not hold what was signed."""


class BundleNotTrusted(Invalid):
    """No key that this service trusts has signed the bundle."""


class FileMissing(Invalid):
    """An image list names this file, but it is not there."""


class TextMissing(Invalid):
    """Neither a folder nor an image list gives this file a class or a caption."""


class ObjectChanged(Invalid):
    """The object has changed or was deleted since the import was ordered: order it again."""


class BucketNotAllowed(Invalid):
    """Imports may read only the buckets that the operator names in PERENNIAL_IMPORT_BUCKETS."""


class BaseUnknown(Invalid):
    """The base must be 'bundled', an open_clip 'name:pretrained' or a folder in a root folder."""


class ModelNotTrainable(Invalid):
    """The model loads, but this recipe cannot train it."""


class NotExportable(Invalid):
    """The format has no place for this model."""


class IdempotencyMismatch(Invalid):
    """This Idempotency-Key was already used with a different body."""


class UrlForbidden(Invalid):
    """Webhooks are sent to https URLs at public addresses only."""
