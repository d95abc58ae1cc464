"""The formats that the libraries of this machine suffice for; nothing is imported to find out."""

import importlib.util
from collections.abc import Collection

from core.domain.export_format import ExportFormat


def available_formats() -> Collection[ExportFormat]:
    """Return the formats whose libraries are installed."""
    return [each for each in ExportFormat if all(map(importlib.util.find_spec, each.libraries))]
