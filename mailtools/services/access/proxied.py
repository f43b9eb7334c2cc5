"""Sessions behind a proxy: the peer is whom a listed proxy says (PROXY protocol)."""

from collections.abc import Callable

from mailtools import log
from mailtools.errors import BadSyntax, ConnectionDied, TimedOut, TlsTrouble
from mailtools.net.session import Peer
from mailtools.net.stream import Stream
from mailtools.services.access.networks import Networks

PATIENCE = 10.0  # seconds; a proxy sends its header at once


def serve_peer(
    stream: Stream, connected: Peer, proxies: Networks, serve: Callable[[Stream, Peer], None]
) -> None:
    """Serve whom a session is with: the connected peer, or whom a proxy of the list names.

    What breaks then is logged of that peer. A proxy that speaks for itself looks whether we live,
    many times a minute, and hangs up as it likes: of that nothing is logged. Without a proxy
    ConnectionDied and TlsTrouble are raised.
    """
    if connected.address not in proxies:
        serve(stream, connected)
        return
    try:
        peer = behind_proxy(stream, connected)
    except (BadSyntax, TimedOut) as failure:
        log.event("lost", client=connected, after="PROXY", reason=failure.text)
        return
    except ConnectionDied:
        return
    if peer is None:
        return
    try:
        serve(stream, peer)
    except (ConnectionDied, TlsTrouble) as failure:
        if not peer.probe:
            log.event("lost", client=peer, port=peer.port or None, reason=failure.text)


def behind_proxy(stream: Stream, proxy: Peer) -> Peer | None:
    """Read the PROXY header from the stream and give the peer it names; the proxy where it is it.

    What came behind the header stays in the stream. None: the connection was closed at once.
    Raises BadSyntax, TimedOut or ConnectionDied.
    """
    from mailtools.protocol.proxy import parse_proxy  # only behind a proxy

    data = b""
    while True:
        received = stream.read(PATIENCE)
        if received is None:
            raise TimedOut("No PROXY header came")
        data += received
        if not data:
            return None
        found = parse_proxy(data)
        if found:
            break
        if not received:
            raise TimedOut("The connection ended in the PROXY header")
    who, length = found
    stream.unread(data[length:])
    if not who.address or (who.address, who.port) == (proxy.address, proxy.port):
        return proxy._replace(probe=True)
    return Peer(who.address, who.port, "", who.local, who.local_port, who.tls)
