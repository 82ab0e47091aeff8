# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A network namespace in which everything that leaves the host is seen.

For programs that run in one of their own, which util-linux makes without a privilege::

    unshare --net --mount --map-root-user python ...
"""

from collections import Counter
from collections.abc import Iterable, Iterator
import contextlib
import ipaddress
from pathlib import Path
import socket
import subprocess
import threading

from pyroute2 import IPRoute

NAME_SERVER = '198.51.100.53'
_OUTSIDE, _FAR = 'outside', 'far'
_FAR_HARDWARE = '02:00:00:00:00:01'
# Address, length of its prefix, gateway and everything, in networks that are nobody's (RFC 5737
# and 3849).
_NETWORKS = (
    (socket.AF_INET, '192.0.2.100', 24, '192.0.2.254', '0.0.0.0/0'),
    (socket.AF_INET6, '2001:db8::1', 64, '2001:db8::fe', '::/0'))
# Of a link layer, linux/if_ether.h.
_ALL_PROTOCOLS, _IPV4, _ARP, _IPV6 = 3, 0x0800, 0x0806, 0x86DD
_PROTOCOLS = {2: 'IGMP', 6: 'TCP', 17: 'UDP'}
_HOP_BY_HOP, _ICMPV6 = 0, 58


def bring_loopback_up() -> None:
    """Make 127.0.0.1 work, which is down in a new namespace."""
    with IPRoute() as route:
        route.link('set', index=route.link_lookup(ifname='lo')[0], state='up')


def use_name_server(folder: Path) -> None:
    """
    Let names be looked up at :data:`NAME_SERVER`, behind the interface, and nowhere else.

    A name service of the host that listens on a socket file would be reached from here, too, and
    would ask in its own namespace: it must not be found. Needs a mount namespace.

    :param folder: for a file that has to stay.
    """
    _mount('-t', 'tmpfs', 'tmpfs', '/run')
    text = f'nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n'
    used = Path('/etc/resolv.conf').resolve()
    if not used.exists():  # it was under /run, or there was none
        used.parent.mkdir(parents=True, exist_ok=True)
        used.write_text(text)
        return
    own = folder / 'resolv.conf'
    own.write_text(text)
    _mount('--bind', str(own), str(used))


def _mount(*words: str) -> None:
    subprocess.run(['mount', *words], check=True)


class Capture:
    """What passes an interface: the frames of its link layer, from now on."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS))
        self._socket.bind((interface, _ALL_PROTOCOLS))
        self._socket.setblocking(False)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield protocol and payload of what came since the last time."""
        with contextlib.suppress(BlockingIOError):
            while True:
                payload, (_, protocol, *_) = self._socket.recvfrom(65_536)
                yield protocol, payload


class Outside:
    """
    An interface behind which the world would be, and what was sent there.

    It is one end of a pair, and has the default routes; what it transmits is read at the other
    end, which has no address. Gateways are known, so that what leaves is not held back by the
    search for them.
    """

    def __init__(self) -> None:
        self._packets = Counter[str]()
        with IPRoute() as route:
            route.link('add', ifname=_OUTSIDE, kind='veth', peer=_FAR)
            Path('/proc/sys/net/ipv6/conf', _FAR, 'disable_ipv6').write_text('1')
            outside, far = (route.link_lookup(ifname=name)[0] for name in (_OUTSIDE, _FAR))
            route.link('set', index=far, address=_FAR_HARDWARE, state='up')
            self._capture = Capture(_FAR)
            route.link('set', index=outside, state='up')
            for family, address, length, gateway, everything in _NETWORKS:
                route.addr('add', index=outside, address=address, prefixlen=length, family=family)
                route.neigh('add', ifindex=outside, dst=gateway, lladdr=_FAR_HARDWARE,
                            state='permanent', family=family)
                route.route('add', dst=everything, gateway=gateway, family=family)

    def packets(self) -> dict[str, int]:
        """Return what was transmitted so far, and how many packets of each."""
        for protocol, payload in self._capture.frames():
            if (words := _described(protocol, payload)) is not None:
                self._packets[words] += 1
        return dict(self._packets)


def paths_of_ipv4(capture: Capture) -> dict[str, int]:
    """Return between which addresses datagrams went, and how many."""
    return dict(Counter(
        f'{ipaddress.ip_address(payload[12:16])} to {ipaddress.ip_address(payload[16:20])}'
        for protocol, payload in capture.frames() if protocol == _IPV4))


def _described(protocol: int, packet: bytes) -> str | None:
    """Return a packet as 'UDP 192.0.2.53:53'; None for the kernel's own upkeep of IPv6."""
    if protocol == _IPV4:
        kind, target, rest = packet[9], packet[16:20], packet[4 * (packet[0] & 0xF):]
    elif protocol == _IPV6:
        kind, target, rest = packet[6], packet[24:40], packet[40:]
        if kind in (_HOP_BY_HOP, _ICMPV6):  # neighbours, routers, groups: nothing of a program
            return None
    else:
        return 'ARP' if protocol == _ARP else f'protocol {protocol:#06x} of the link layer'
    words = f'{_PROTOCOLS.get(kind, f"IP protocol {kind}")} {ipaddress.ip_address(target)}'
    if kind in (6, 17):
        words += f':{int.from_bytes(rest[2:4])}'
    # The header of every DDS message (DDSI-RTPS 8.3.3).
    return f'{words} RTPS' if kind == 17 and rest[8:12] == b'RTPS' else words


class TcpWatch:
    """Keeps every TCP socket that is there at some moment, and counts those that connected."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            self._seen |= set(_tcp_sockets())
            if self._ended.wait(0.02):
                return

    def end(self) -> dict[str, object]:
        """Return the sockets, and how often one was opened to connect or by a connection."""
        self._ended.set()
        self._thread.join()
        names, values = (line.split() for line in Path('/proc/net/snmp').read_text().splitlines()
                         if line.startswith('Tcp:'))
        counted = dict(zip(names, values, strict=True))
        return {'sockets': sorted(self._seen),
                'connections': int(counted['ActiveOpens']) + int(counted['PassiveOpens'])}


def _tcp_sockets() -> Iterable[str]:
    for name in ('tcp', 'tcp6'):
        for line in Path('/proc/net', name).read_text().splitlines()[1:]:
            _, local, remote, *_ = line.split()
            yield f'{name} {local} {remote}'
