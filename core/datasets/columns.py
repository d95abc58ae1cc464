"""The columns of collections that hold images, their classes and their captions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from core import errors
from core.archives.tables import ChosenColumns, Column, ColumnKind
from core.datasets.rules import DatasetKind

# Names of columns, and of the fields of lists, that are looked for; the first that is there counts.
FILES = ("file", "file_name", "path")
IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp")
LABELS = ("class", "label", "class_name", "label_name", "category")
CAPTIONS = ("captions", "caption", "text")

MOST_NAME = 200  # characters of a column's name that an order names
_SHOWN = 20  # columns in a message
_MOST_SHOWN = 1_000  # characters of their names and types


@dataclass(frozen=True, kw_only=True)
class WantedColumns:
    """The columns that an order names; None: those that are found by their names and types."""

    image_column: str | None = None
    label_column: str | None = None
    caption_column: str | None = None

    def require_for(self, kind: DatasetKind) -> None:
        """Raise FieldInvalid for a column of texts that a dataset of a kind does not have."""
        texts = {
            DatasetKind.LABELLED: self.label_column,
            DatasetKind.CAPTIONED: self.caption_column,
        }
        named = {"label_column": self.label_column, "caption_column": self.caption_column}
        for field, name in named.items():
            if name is not None and name != texts.get(kind):
                raise errors.FieldInvalid(
                    f"The dataset is {kind}: it has no such texts.", pointer=f"#query/{field}"
                )

    def text_names(self, kind: DatasetKind) -> Sequence[str]:
        """Return the names of what holds the texts of a dataset of a kind, in order."""
        if kind is DatasetKind.UNLABELLED:
            return ()
        labelled = kind is DatasetKind.LABELLED
        own = self.label_column if labelled else self.caption_column
        if own is not None:
            return (own,)
        return LABELS if labelled else CAPTIONS


_AS_LABEL = {ColumnKind.TEXT, ColumnKind.CLASS}
_AS_CAPTION = {ColumnKind.TEXT, ColumnKind.TEXTS}


def choose_columns(
    columns: Sequence[Column], wanted: WantedColumns, kind: DatasetKind
) -> ChosenColumns:
    """Return the columns of a table that are read for a dataset of a kind.

    A table without images is a list of them if a column names their files. Raises TableInvalid,
    which names the columns and their types.
    """
    finding = _Finding(columns)
    image = finding.image(wanted.image_column)
    file = None if image else finding.first(FILES, {ColumnKind.TEXT})
    if image is None and file is None:
        raise finding.refusal("No column holds images, as bytes or as a struct with `bytes`")
    names = wanted.text_names(kind)
    if not names:
        return ChosenColumns(image=image, file=file)
    labelled = kind is DatasetKind.LABELLED
    others = [one for one in columns if one is not image and one is not file]
    text = finding.text(names, labelled=labelled, others=others)
    return ChosenColumns(image=image, file=file, text=text)


class _Finding:
    """Finds columns, or says why there is none."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns

    def image(self, wanted: str | None) -> Column | None:
        found = [one for one in self._columns if one.kind is ColumnKind.IMAGE]
        if wanted is not None:
            if (chosen := self.first([wanted], {ColumnKind.IMAGE})) is None:
                raise self.refusal(f"No column {wanted!r} holds images")
            return chosen
        if len(found) < 2:
            return found[0] if found else None
        if (chosen := self.first(IMAGES, {ColumnKind.IMAGE})) is None:
            raise self.refusal("Several columns hold images: name one as `image_column`")
        return chosen

    def text(self, names: Sequence[str], *, labelled: bool, others: Sequence[Column]) -> Column:
        kinds = _AS_LABEL if labelled else _AS_CAPTION
        if (chosen := self.first(names, kinds)) is not None:
            return chosen
        what, field = ("classes", "label") if labelled else ("captions", "caption")
        for one in others:
            if one.name in names:
                why = (
                    ": its numbers have no names in the file"
                    if one.kind is ColumnKind.NUMBER and labelled
                    else ""
                )
                raise self.refusal(f"The column {one.name!r} cannot be read as {what}{why}")
        if len(names) == 1:  # the order names it
            raise self.refusal(f"There is no column {names[0]!r}")
        plain = {ColumnKind.CLASS} if labelled else kinds
        left = [one for one in others if one.kind in plain]
        if len(left) == 1:
            return left[0]
        raise self.refusal(f"No column is clearly that of the {what}: name it as `{field}_column`")

    def first(self, names: Collection[str], kinds: Collection[ColumnKind]) -> Column | None:
        fit = {one.name: one for one in self._columns if one.kind in kinds}
        return next((fit[name] for name in names if name in fit), None)

    def refusal(self, why: str) -> errors.TableInvalid:
        told = [f"{one.name} ({one.type})" for one in self._columns[:_SHOWN]]
        more = [f"{len(self._columns) - _SHOWN} more"] if len(self._columns) > _SHOWN else []
        listed = ", ".join([*told, *more]) or "none"
        shown = "".join(letter for letter in listed if letter.isprintable())
        return errors.TableInvalid(f"{why}. Its columns: {shown[:_MOST_SHOWN]}.")
