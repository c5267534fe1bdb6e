"""Networks that are cut or slow between the node and a real storescp: nothing twice, nothing hangs, the reason is told."""

from __future__ import annotations

import time

import pytest

from node.config import DimseDestination
from node.dicom.outgoing import examine
from node.errors import TransientError
from node.send import echo, send

PATIENCE_S = 30


def to(proxy, *, timeout_s: float = 5) -> DimseDestination:
    return DimseDestination(
        name="pacs", ae_title="STORESCP", host="127.0.0.1", port=proxy.port, timeout_s=timeout_s, confirm="none"
    )


@pytest.fixture
def paths(crafted):
    return crafted.series(4)


def test_cut_at_each_part_of_an_association(storescp, start_proxy, paths):
    """In the request, in a command, in the head of a PDU, in pixels: a second association brings what is lacking."""
    proxy = start_proxy(storescp.port)
    whole = sum(path.stat().st_size for path in paths)
    for cut in (50, 300, 420, 700, whole // 2, whole):
        proxy.cut_after = cut
        before, started = proxy.connections, time.monotonic()
        try:
            send(to(proxy), paths, lambda _: None)
        except TransientError as error:
            told = str(error)
            assert "STORESCP@127.0.0.1" in told
            assert "closed the connection" in told
            assert "it had accepted" in told
        assert 1 <= proxy.connections - before <= 1 + len(paths), "no instance is sent more than twice"
        assert time.monotonic() - started < PATIENCE_S
    proxy.cut_after = None
    assert send(to(proxy), paths, lambda _: None) == len(paths)
    kept = {examine(path).sop_instance_uid for path in storescp.files}
    assert kept == {examine(path).sop_instance_uid for path in paths}, "no other UIDs came of it"


def test_cut_once_is_mended_at_once(storescp, start_proxy, paths):
    proxy = start_proxy(storescp.port)
    proxy.cut_after = 600 + paths[0].stat().st_size

    def progress(_: int) -> None:
        proxy.cut_after = None  # for the connections that follow

    assert send(to(proxy), paths, progress) == len(paths)
    assert proxy.connections == 2
    assert len({path.name for path in storescp.files}) == len(paths)


@pytest.mark.parametrize("rate", [1, 20])
def test_a_byte_a_second_is_given_up_with_the_reason(storescp, start_proxy, paths, rate):
    proxy = start_proxy(storescp.port)
    proxy.bytes_per_s = rate
    started = time.monotonic()
    with pytest.raises(TransientError, match=r"has not answered|takes no more"):
        send(to(proxy, timeout_s=1.5), paths, lambda _: None)
    with pytest.raises(TransientError, match=r"has not answered"):
        echo(to(proxy, timeout_s=1.5))
    assert time.monotonic() - started < PATIENCE_S
