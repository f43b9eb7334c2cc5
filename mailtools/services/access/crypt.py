"""crypt(3) of the host's libcrypt, by ctypes: yescrypt, bcrypt, SHA-512, SHA-256, MD5, DES.

Python's own module is gone since 3.13. Loading costs 6 ms, so it happens at the first call.
"""

import ctypes
import functools

_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)  # libxcrypt, its newer ABI, musl's libc
_DATA = 32768  # octets of struct crypt_data, the largest there is
_OUTPUT = 192  # CRYPT_GENSALT_OUTPUT_SIZE


def crypt(password: bytes, setting: str) -> str:
    """Hash `password` (no NUL in it) as `setting` says, a stored hash or a new salt.

    "" where this host's libcrypt does not know the method.
    """
    function = _library().crypt_r
    function.restype = ctypes.c_char_p
    function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
    data = ctypes.create_string_buffer(_DATA)  # our own, so that threads do not meet
    found: bytes | None = function(password, setting.encode("utf-8", "replace"), data)
    if not found or found.startswith(b"*"):  # *0 and *1 are its failure tokens
        return ""
    return found.decode("ascii", "replace")


def load() -> None:
    """Load the library; a host that has none says so at a login."""
    _library()


def new_setting(prefix: str) -> str:
    """Make a fresh salt for a method (`$y$`, `$2b$`, `$6$`); "" where this host cannot."""
    try:
        function = _library().crypt_gensalt_rn
    except AttributeError:
        return ""  # not libxcrypt
    function.restype = ctypes.c_char_p
    output = ctypes.create_string_buffer(_OUTPUT)
    # No random octets of ours: the library asks the kernel for them.
    found: bytes | None = function(prefix.encode(), ctypes.c_ulong(0), None, 0, output, _OUTPUT)
    return found.decode("ascii") if found and not found.startswith(b"*") else ""


@functools.cache
def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            library.crypt_r  # noqa: B018 - looked up here, so that a libc without it is passed over
        except (OSError, AttributeError):
            continue
        return library
    return ctypes.CDLL(None)
