"""Who may open an association: addresses, AE titles, certificates, and how many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from node.config import Peer, Receive
from node.tls import canonical


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    names: frozenset[str] = frozenset()  # of its certificate, as `node.tls.names` writes them


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is not opened; the numbers are PS3.8 Table 9-21."""

    result: int
    source: int
    diagnostic: int
    reason: str


def judge_association(settings: Receive, caller: Caller, others: int) -> Rejection | None:
    """Whether a peer may open an association while `others` are open; None where it may."""
    if settings.check_called_ae_title and caller.called_ae_title != settings.ae_title.strip():
        return Rejection(1, 1, 7, f"it called {caller.called_ae_title!r}, and this is {settings.ae_title!r}")
    here = peers_at(settings, caller.address)
    if not here:
        return Rejection(1, 1, 3, f"no peer of the configuration (receive.peers) has the address {caller.address}")
    calling = caller.calling_ae_title
    named = [peer for peer in here if peer.ae_title in ("*", calling)]
    if not named:
        where = f"(receive.peers) at {caller.address}"
        return Rejection(1, 1, 3, f"no peer of the configuration {where} is {calling!r}")
    if not any(_shows(peer, caller.names) for peer in named):
        shown = ", ".join(sorted(caller.names)) or "none"
        return Rejection(1, 1, 3, f"its certificate ({shown}) is not that of {calling!r} (receive.peers.certificates)")
    if others >= settings.max_associations:
        return Rejection(2, 3, 2, f"{others} associations are open (receive.max_associations)")
    return None


def peers_at(settings: Receive, address: str) -> list[Peer]:
    """The peers of the configuration that may have this address."""
    where = ip_address(address.partition("%")[0])
    where = getattr(where, "ipv4_mapped", None) or where
    return [peer for peer in settings.peers if any(where in ip_network(network) for network in peer.addresses)]


def _shows(peer: Peer, names: frozenset[str]) -> bool:
    return not peer.certificates or not names.isdisjoint(map(canonical, peer.certificates))
