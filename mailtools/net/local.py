"""Which IP addresses are this host's own."""

import socket


def is_local(address: str) -> bool:
    """Tell whether connecting to an IP address would lead back to this host.

    The kernel is asked by binding to it, so that addresses added later count too; 0.0.0.0 and ::
    are this host as well.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True


def source_of(address: str) -> str:
    """Give the address of ours that the kernel would use towards an IP address; "" for no way.

    Nothing is sent.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return ""
