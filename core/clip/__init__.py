"""CLIP on open_clip.

open_clip imports transformers, if that is installed, for text towers that this project refuses
(`core.domain.registry.architecture`). It would cost each process a second and 20 MB, so open_clip
is imported here as if transformers were missing; exports import it when they need it.
"""

import sys

if "open_clip" not in sys.modules and "transformers" not in sys.modules:
    sys.modules["transformers"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        import open_clip  # noqa: F401
    finally:
        del sys.modules["transformers"]
