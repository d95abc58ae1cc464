import gc
import weakref

import pytest

from core.loading import loading


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_what_is_loaded_is_exempt_from_collection_and_nothing_later() -> None:
    with loading():
        assert not gc.isenabled()
        loaded = weakref.ref(Cycle())
    assert gc.isenabled()
    later = weakref.ref(Cycle())
    gc.collect()
    assert loaded() is not None
    assert later() is None


def test_collection_goes_on_after_a_module_that_does_not_load() -> None:
    with pytest.raises(ImportError), loading():
        import core.no_such_module  # noqa: F401
    assert gc.isenabled()
