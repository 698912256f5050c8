"""Where a server listens. Standard library only, so that what is wrong is told at once."""

from __future__ import annotations

import errno
import ipaddress
import socket

from lks.errors import InputError

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address, before anything that takes long is begun.

    Raises:
        InputError: somebody else is there, or the address is none of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        return found
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            told = f"port {port} is taken by another program; stop it, or give another --port"
        elif error.errno == errno.EACCES:
            told = f"port {port} may not be used by you; give a --port from 1024 on"
        else:
            told = f"--host {host}: no address of this machine ({error.strerror})"
        raise InputError(told) from None
