"""The folders that agents may have files read from."""

from collections.abc import Sequence
from pathlib import Path

from mcp.server.mcpserver.exceptions import ToolError

from perennial.terminal.folders import class_files


class Folders:
    """Folders that were allowed when the server was started; nothing outside them is read."""

    def __init__(self, allowed: Sequence[Path]) -> None:
        """Allow these folders. Raises OSError if one does not exist."""
        self._allowed = tuple(folder.resolve(strict=True) for folder in allowed)

    def file(self, named: str) -> Path:
        """Return a file below an allowed folder. Raises ToolError."""
        path = self._place(named)
        if not path.is_file():
            raise ToolError(f"{named} is not a file.")
        return path

    def classes(self, named: str) -> list[tuple[str, Path]]:
        """Return the files <class>/<image> of a folder, each with its class.

        A link counts as what it leads to. Raises ToolError if there is no such file, or if one
        leads out of the allowed folders.
        """
        files = class_files(self._place(named), lambda path: self._place(str(path)))
        if not files:
            raise ToolError(f"{named} holds no <class>/<image> files.")
        return files

    def _place(self, named: str) -> Path:
        """Return the path that a name leads to, links followed. Raises ToolError if it is outside.

        A relative name belongs to the first allowed folder in which it exists. What is outside is
        refused in the same words whether it exists or not.
        """
        try:
            places = [(folder / named).resolve() for folder in self._allowed]
        except (ValueError, OSError, RuntimeError) as error:  # a null byte, a circle of links
            raise ToolError(f"{named!r} is not a path.") from error
        inside = [place for place in places if any(map(place.is_relative_to, self._allowed))]
        if not inside:
            allowed = ", ".join(map(str, self._allowed)) or "none: start it with --folder"
            raise ToolError(f"{named} is outside the folders that this server reads ({allowed}).")
        return next((place for place in inside if place.exists()), inside[0])
