"""Sessions behind a proxy: the peer is whom a listed proxy says (PROXY protocol)."""

from mailtools import log
from mailtools.errors import BadSyntax, TimedOut
from mailtools.net.session import Peer
from mailtools.net.stream import Stream
from mailtools.services.access.networks import Networks

PATIENCE = 10.0  # seconds; a proxy sends its header at once


def true_peer(stream: Stream, peer: Peer, proxies: Networks) -> Peer | None:
    """Give whom a session is with; None where a proxy of the list did not say it, which is logged.

    Raises ConnectionDied.
    """
    if peer.address not in proxies:
        return peer
    try:
        return behind_proxy(stream, peer)
    except (BadSyntax, TimedOut) as failure:
        log.event("lost", client=peer, after="PROXY", reason=failure.text)
        return None


def behind_proxy(stream: Stream, proxy: Peer) -> Peer:
    """Read the PROXY header from the stream and give the peer it names.

    What came behind the header stays in the stream. Raises BadSyntax, TimedOut or ConnectionDied.
    """
    from mailtools.protocol.proxy import parse_proxy  # only behind a proxy

    data = b""
    while True:
        received = stream.read(PATIENCE)
        if received is None:
            raise TimedOut("No PROXY header came")
        data += received
        found = parse_proxy(data)
        if found:
            break
        if not received:
            raise TimedOut("The connection ended in the PROXY header")
    who, length = found
    stream.unread(data[length:])
    if not who.address:
        return proxy
    return proxy._replace(
        address=who.address,
        port=who.port,
        name="",
        local=who.local,
        local_port=who.local_port,
    )
