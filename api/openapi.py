"""Print the OpenAPI document: `python -m api.openapi > docs/openapi.json`."""

import sys

from api.app import create_app
from api.openapi_document import to_text
from core.settings import read_settings

if __name__ == "__main__":
    sys.stdout.write(to_text(create_app(read_settings())))
