"""The request is not valid."""

from core.errors.root import PerennialError


class Invalid(PerennialError):
    """The request is not valid."""


class FieldInvalid(Invalid):
    """A field has a value that is not allowed."""


class FieldUnknown(Invalid):
    """A field is not known."""


class ClassInvalid(Invalid):
    """A class name must be 1 to 100 printable characters, not all of them invisible."""


class CaptionInvalid(Invalid):
    """A caption must be 1 to 500 printable characters, not all of them invisible."""


class NameInvalid(Invalid):
    """A name must be 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit."""


class PromptInvalid(Invalid):
    """A prompt template must be at most 200 printable characters and hold '{name}' exactly once."""


class PromptTooLong(Invalid):
    """A class's prompt has more tokens than the model reads."""


class RecipeInvalid(Invalid):
    """The recipe has an unknown field or a value out of bounds."""


class TooFewPerClass(Invalid):
    """A class has too few images."""


class TooFewClasses(Invalid):
    """With this label space the update would have loss zero: name at least two classes."""


class ImageCorrupt(Invalid):
    """The image cannot be decoded to its end."""


class ImageTooLarge(Invalid):
    """The image has more pixels than the cap allows."""


class ImageAnimated(Invalid):
    """The image is animated: send the frame that is meant as an image of its own."""


class ImageInSuite(Invalid):
    """The image belongs to a suite or a holdout and may not be trained on."""


class SplitConflict(Invalid):
    """The image looks like known images on both sides of the split, so neither may have it."""


class AllRejected(Invalid):
    """No file of the upload was accepted."""


class BaseUnknown(Invalid):
    """The base is not an open_clip model with weights, a known folder or 'bundled'."""


class ModelNotTrainable(Invalid):
    """The model loads, but this recipe cannot train it."""


class IdempotencyMismatch(Invalid):
    """This Idempotency-Key was used with another body."""
