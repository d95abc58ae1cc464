"""Bodies of types that Schemathesis does not know."""

import schemathesis


@schemathesis.serializer("application/offset+octet-stream")
def binary(_context: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else bytes(getattr(value, "data", b""))
