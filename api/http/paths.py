"""Paths that anyone may ask for, and those of pages, which take a session and not a key."""

PAGES = "/ui"
SIGN_IN = f"{PAGES}/sign-in"
STATIC = f"{PAGES}/static/"
GUIDE = "/guide"
FIRST_STEPS = f"{PAGES}/first-steps"
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", SIGN_IN})


def is_open(path: str) -> bool:
    """Return whether a path needs neither a key nor a session."""
    return path in OPEN_PATHS or path.startswith(STATIC) or is_guide(path)


def is_guide(path: str) -> bool:
    """Return whether a path is that of a page of the guide, which anyone may read."""
    return path == GUIDE or path.startswith(f"{GUIDE}/")


def is_page(path: str) -> bool:
    """Return whether a path is that of a page, or of something on a page."""
    return path == PAGES or path.startswith(f"{PAGES}/")


def page_path(path: str) -> str:
    """Return a path if it is that of a page of this service, else that of the first page."""
    inside = path == PAGES or path.startswith((f"{PAGES}/", f"{PAGES}?"))
    return path if inside and path.isprintable() and not path.startswith(SIGN_IN) else PAGES
