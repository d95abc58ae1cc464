"""JSON that would take far more memory than its text, and what it may take."""

from api.http.json_bodies import MAX_PARTS, MAX_VALUES

MIB = 2**20

GREEDY = {
    "a long name": b'{"a":"b","' + b"k" * 100_000 + b'":[' + b"1," * 20_000 + b"1]}",
    "a long name and a bad text": (
        b'{"a":"b","' + b"k" * 100_000 + b'":[' + b"1," * 20_000 + b'"\\u0000"]}'
    ),
    "deep": b'{"x":' + b"[" * 900 + b"1," * 400_000 + b"1" + b"]" * 900 + b"}",
    "empty objects": b"[" + b"{}," * 700_000 + b"{}]",
    "fields": b"{" + b",".join(b'"%06x":1' % one for one in range(200_000)) + b"}",
    "objects that are taken": (
        b"[" + b",".join(b'{"%05x":1.5}' % one for one in range(MAX_PARTS // 2 - 1)) + b"]"
    ),
    "strings that are taken": b"[" + '"😀",'.encode() * (MAX_VALUES - 1) + b'"a"]',
    "one wide letter": b'["' + b"a" * MIB + "😀".encode() + b'"]',
    "strings of marks": b'["' + b'[{,:","' * 200_000 + b'"]',
    "escapes": b'["' + b'\\\\\\"[' * 300_000 + b'"]',
    "no commas": b'""11' * MIB,
}


def most_bytes(body: bytes) -> int:
    """The most that reading a body may take: its text twice, and what so many values take.

    The text is decoded, and its characters are in strings again, both with up to four bytes each.
    A value is at most a short string (80 bytes) and its place in a list; a part is at most an
    object, or a name in one.
    """
    return 2 * 4 * len(body) + 100 * MAX_VALUES + 200 * MAX_PARTS
