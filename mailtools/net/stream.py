"""A stream: read with a timeout, write, start TLS, close; over a socket or a pair of descriptors.

TLS runs over memory buffers, so that what came before the handshake can be dropped by the engine
and descriptors that are no sockets (pipes, ssh) can carry it too.
"""

from __future__ import annotations

import math
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mailtools.errors import ConnectionDied, TlsTrouble

if TYPE_CHECKING:
    import ssl

READ = 65536  # octets asked for at a time
SLACK = 1.0  # seconds of a timeout that are not worth a system call


class Stream:
    """Bytes to and from one peer. A socket's own timeouts do the waiting (one system call)."""

    def __init__(
        self,
        sock: socket.socket | None = None,
        fds: tuple[int, int] = (0, 1),
        *,
        patience: float | None = None,
    ) -> None:
        """Carry bytes over a connected socket, or else over descriptors (input, output).

        `patience` is the timeout that the socket has already.
        """
        self._socket = sock
        self._fds = (sock.fileno(), sock.fileno()) if sock else fds
        self._patience = patience
        self._held = b""
        self._interrupted = False
        self.pressed: Callable[[], bool] = _never
        """Whether others wait, or are refused, while this one is served."""
        self._tls: ssl.SSLObject | None = None
        self._from_peer: ssl.MemoryBIO
        self._to_peer: ssl.MemoryBIO

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, where there is one."""
        return self._tls

    def fileno(self) -> int:
        """The descriptor to wait on for input (see `pending`)."""
        return self._fds[0]

    @property
    def pending(self) -> bool:
        """Whether `read` has something without asking the peer."""
        if self._tls is None:
            return bool(self._held)
        return self._tls.pending() > 0 or self._from_peer.pending > 0

    # -- reading ----------------------------------------------------------------------------------

    def read(self, timeout: float | None) -> bytes | None:
        """Give what the peer sent, `b""` at its end, None when it was silent for `timeout` s.

        Raises ConnectionDied.
        """
        if self._interrupted:
            return None
        if self._tls is None:
            return self._receive(timeout)
        import ssl

        begin = time.monotonic()
        while True:
            try:
                return self._tls.read(READ)
            except ssl.SSLWantReadError:
                self._flush_tls()
                data = self._receive(_left(timeout, begin))
                if data is None:
                    return None
                if not data:
                    return b""
                self._from_peer.write(data)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise ConnectionDied(f"TLS failed: {_reason(error)}") from error

    def interrupt(self) -> None:
        """Have a `read` end at once, this one or the next, as if its time were over.

        For a signal's handler: what waits in the kernel is woken by that, and waits no more.
        """
        self._interrupted = True
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _NO_TIME)
            self._patience = math.nan

    def take_interrupt(self) -> bool:
        """Whether `read` ended because of `interrupt`; it is over then."""
        found, self._interrupted = self._interrupted, False
        return found

    def unread(self, data: bytes) -> None:
        """Give back what was read too far, before TLS: the next `read` gives it first."""
        self._held = data + self._held

    def _receive(self, timeout: float | None) -> bytes | None:
        if self._held:
            data, self._held = self._held, b""
            return data
        try:
            if self._socket is None:
                if timeout is not None:
                    poll = select.poll()
                    poll.register(self._fds[0], select.POLLIN)
                    if not poll.poll(timeout * 1000):
                        return None
                return os.read(self._fds[0], READ)
            if timeout != self._patience:
                self._be_patient(timeout)
            return self._socket.recv(READ)
        except BlockingIOError:
            return None  # SO_RCVTIMEO ran out
        except OSError as error:
            raise ConnectionDied(f"Connection lost: {error.strerror}") from error

    def _be_patient(self, timeout: float | None) -> None:
        assert self._socket is not None
        set_patience(self._socket, timeout)
        self._patience = timeout
        if self._interrupted:
            self.interrupt()  # it came a moment ago

    # -- writing ----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send all of `data`; raise ConnectionDied when the peer is gone or takes nothing."""
        if self._tls is None:
            self._send(data)
            return
        import ssl

        view = memoryview(data)
        while view:
            try:
                view = view[self._tls.write(view) :]
            except ssl.SSLError as error:
                raise ConnectionDied(f"TLS failed: {_reason(error)}") from error
            self._flush_tls()

    def _send(self, data: bytes) -> None:
        try:
            if self._socket is not None:
                self._socket.sendall(data)
                return
            view = memoryview(data)
            while view:
                view = view[os.write(self._fds[1], view) :]
        except OSError as error:  # BlockingIOError too: SO_SNDTIMEO ran out
            raise ConnectionDied(f"Connection lost: {error.strerror}") from error

    def _flush_tls(self) -> None:
        if self._to_peer.pending:
            self._send(self._to_peer.read())

    def linger(self, seconds: float) -> None:
        """Let a peer wait; nothing is read meanwhile, but its hanging up is noticed."""
        poll = select.poll()
        poll.register(self._fds[0], select.POLLRDHUP)
        poll.poll(seconds * 1000)

    # -- TLS and the end --------------------------------------------------------------------------

    def start_tls(
        self, context: ssl.SSLContext, *, host: str | None = None, timeout: float = 60.0
    ) -> None:
        """Do the handshake: as the client of `host`, or as the server; raise TlsTrouble."""
        import ssl  # here, since most inetd sessions never need it

        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.protocol == ssl.PROTOCOL_TLS_SERVER
        tls = context.wrap_bio(
            self._from_peer, self._to_peer, server_side=server, server_hostname=host
        )
        begin = time.monotonic()
        served: tuple[str, ...] = getattr(context, "protocols", ())
        hello = b""
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush_tls()
                data = self._receive(_left(timeout, begin))
                if data is None:
                    raise TlsTrouble("Timeout in the TLS handshake") from None
                if not data:
                    raise TlsTrouble("Connection lost in the TLS handshake") from None
                if served:
                    hello += data
                    served = self._without_strangers(hello, served)
                self._from_peer.write(data)
            except ssl.SSLError as error:
                try:
                    self._flush_tls()  # the alert
                except ConnectionDied:
                    pass
                raise TlsTrouble(f"TLS handshake failed: {_reason(error)}") from error
        self._flush_tls()
        self._tls = tls

    def _without_strangers(self, hello: bytes, served: tuple[str, ...]) -> tuple[str, ...]:
        """Look whom a client's first words are for; give what is still to be looked for.

        Raises TlsTrouble where it speaks other protocols than those `served`.
        """
        from mailtools.net import alpn

        names = alpn.offered(hello)
        if names is None:
            return served
        if names and not set(names) & set(served):
            try:
                self._send(alpn.NO_COMMON_PROTOCOL)
            except ConnectionDied:
                pass
            shown = "".join(one if one.isprintable() else "?" for one in ", ".join(names)[:80])
            raise TlsTrouble(f"TLS handshake failed: the client speaks {shown}")
        return ()

    def close(self) -> None:
        """Say goodbye to TLS and close what is ours; never raises."""
        if self._tls is not None:
            import ssl

            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass  # the peer's own goodbye is not waited for
            try:
                self._flush_tls()
            except ConnectionDied:
                pass
        if self._socket is not None:
            self._socket.close()


_NO_TIME = struct.pack("ll", 0, 1000)  # 1 ms; 0 would be for ever


def set_patience(sock: socket.socket, timeout: float | None) -> None:
    """Set the kernel's own timeouts: a blocking recv or send costs one system call, not two."""
    whole, part = divmod(timeout or 0.0, 1)
    value = struct.pack("ll", int(whole), int(part * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def _never() -> bool:
    return False


def _left(timeout: float | None, begin: float) -> float | None:
    """What is left of a timeout: it is for a whole record, or handshake, not for each octet."""
    if timeout is None:
        return None
    gone = time.monotonic() - begin
    return timeout if gone < SLACK else max(timeout - gone, 0.01)


def _reason(error: ssl.SSLError) -> str:
    text = getattr(error, "verify_message", "") or error.reason or str(error)
    return text.replace("_", " ").lower()
