"""The C library's allocator, told to keep the memory that an image took for the next one.

Otherwise it returns most of that memory to the kernel after each image, and the kernel clears as
many pages again for the next: a tenth of the time that a small image takes.
"""

import ctypes

KEPT_BYTES = 32 * 1024 * 1024  # at most so much free memory stays at the end of the heap
LARGE_BYTES = 4 * 1024 * 1024  # a larger block is mapped alone, and returned when it is freed
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Keep freed memory for later blocks; return whether this C library can be told so."""
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library other than glibc
        return False
    return bool(tell(_TRIM_THRESHOLD, KEPT_BYTES) and tell(_MMAP_THRESHOLD, LARGE_BYTES))
