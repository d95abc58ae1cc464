"""The settings and the model of the tests of inference, which tests of trials need as well."""

from tests.api.inference.conftest import model, proxy, settings

__all__ = ["model", "proxy", "settings"]
