"""A TCP proxy that fails as networks do: cut in the middle of what is sent, or slow."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

_CHUNK = 4096


class Proxy:
    """Between a client and `port`. What a test sets counts for connections made from then on."""

    def __init__(self, port: int) -> None:
        self.cut_after: int | None = None  # bytes of the client's, then the connection is reset
        self.bytes_per_s: float | None = None  # both ways
        self.connections = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._ending.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            for source, sink, limit in ((client, server, self.cut_after), (server, client, None)):
                pump = threading.Thread(target=self._pump, args=(source, sink, limit), daemon=True)
                self._threads.append(pump)
                pump.start()

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed, rate = 0, self.bytes_per_s
        with suppress(OSError):
            while data := source.recv(1 if rate else _CHUNK):
                if limit is not None and passed + len(data) > limit:
                    sink.sendall(data[: limit - passed])
                    break
                sink.sendall(data)
                passed += len(data)
                if rate:
                    time.sleep(len(data) / rate)
        for connection in (source, sink):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def start_proxy() -> Iterator[Callable[[int], Proxy]]:
    """Starts proxies before ports; closed when the test ends."""
    with ExitStack() as stack:

        def start(port: int) -> Proxy:
            proxy = Proxy(port)
            stack.callback(proxy.close)
            return proxy

        yield start
