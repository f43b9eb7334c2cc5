"""PAM of the host's libpam, by ctypes: is the password right, and is the account open?

Loading costs 6 ms and more for the modules, so it happens at the first call.
"""

from __future__ import annotations

import ctypes
import functools
import os

from mailtools.errors import AuthTrouble

_SUCCESS, _BUF_ERR, _CONV_ERR = 0, 5, 19
_REFUSED = frozenset((6, 7, 10, 11, 12, 13, 17))
"""PERM_DENIED, AUTH_ERR, USER_UNKNOWN, MAXTRIES, NEW_AUTHTOK_REQD, ACCT_EXPIRED, CRED_ERR."""
_NOT_TOLD = 9  # AUTHINFO_UNAVAIL
_ECHO_OFF, _ECHO_ON = 1, 2  # kinds of questions
_RHOST = 4  # PAM_RHOST
_SILENT = 0x8000


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


_Converse = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)


class _Conversation(ctypes.Structure):
    _fields_ = (("function", _Converse), ("data", ctypes.c_void_p))


def ask(service: str, login: str, password: str, address: str) -> bool:
    """Whether PAM lets `login` in; raise AuthTrouble.

    `service` is the name of a file in /etc/pam.d, or the path of one elsewhere.
    """
    if "\0" in login + password or not login:
        return False
    library, handle = _library(), ctypes.c_void_p()
    user = login.encode("utf-8", "surrogateescape")
    converse = _answering(password.encode("utf-8", "surrogateescape"))
    conversation = _Conversation(converse, None)
    folder, _, name = service.rpartition("/")
    begin = [name.encode(), user, ctypes.byref(conversation)]
    if folder:
        code = library.pam_start_confdir(*begin, folder.encode(), ctypes.byref(handle))
    else:
        code = library.pam_start(*begin, ctypes.byref(handle))
    if code != _SUCCESS:
        raise AuthTrouble(detail=f"PAM service {service} cannot be started: {code}")
    try:
        if address:
            library.pam_set_item(handle, _RHOST, address.encode())
        code = library.pam_authenticate(handle, _SILENT)
        if code == _SUCCESS:
            code = library.pam_acct_mgmt(handle, _SILENT)
    finally:
        words = _words(handle, code)
        library.pam_end(handle, code)
    if code == _NOT_TOLD and os.geteuid():
        words += ": is this server's user in the group of /etc/shadow, where pam_unix is asked?"
    if code != _SUCCESS and code not in _REFUSED:
        raise AuthTrouble(detail=f"PAM service {service} could not tell: {words}")
    return bool(code == _SUCCESS)


def _answering(password: bytes) -> ctypes._FuncPointer:
    """Give the function that PAM's modules ask their questions."""
    libc = _libc()

    def converse(count: int, messages, responses, _data) -> int:  # type: ignore[no-untyped-def]
        answers = libc.calloc(count, ctypes.sizeof(_Response))  # the library frees them
        if not answers:
            return _BUF_ERR
        array = ctypes.cast(answers, ctypes.POINTER(_Response))
        for number in range(count):
            style = messages[number].contents.style
            if style == _ECHO_OFF:
                array[number].text = libc.strdup(password)
            elif style == _ECHO_ON:
                libc.free(answers)
                return _CONV_ERR  # a question we know no answer to
        responses[0] = array
        return _SUCCESS

    return _Converse(converse)


def _words(handle: ctypes.c_void_p, code: int) -> str:
    found: bytes | None = _library().pam_strerror(handle, code)
    return found.decode("utf-8", "replace") if found else str(code)


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.calloc.restype = libc.strdup.restype = ctypes.c_void_p
    libc.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
    libc.strdup.argtypes = (ctypes.c_char_p,)
    libc.free.argtypes = (ctypes.c_void_p,)
    return libc


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libpam.so.0")
    except OSError as error:
        raise AuthTrouble(detail=f"this host has no PAM: {error}") from error
    library.pam_strerror.restype = ctypes.c_char_p
    library.pam_set_item.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
    for name in ("pam_authenticate", "pam_acct_mgmt", "pam_end", "pam_strerror"):
        getattr(library, name).argtypes = (ctypes.c_void_p, ctypes.c_int)
    return library
