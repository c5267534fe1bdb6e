"""A small series to send, and peers that misbehave as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt

from node.dicom.associations import send_at_once


@dataclass(frozen=True)
class Sent:
    """A series on disk."""

    paths: list[Path]
    study: str
    series: str
    instances: list[str]


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Sent]:
    """Writes a series of `count` small CT images in a transfer syntax."""

    def write(count: int, syntax: str = ExplicitVRLittleEndian, size: int = 32) -> Sent:
        study, series = generate_uid(), generate_uid()
        folder = tmp_path / f"series-{series[-8:]}"
        folder.mkdir()
        paths, instances = [], []
        for number in range(count):
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = syntax
            ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
            ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
            ds.PatientName, ds.PatientID, ds.StudyID, ds.StudyDate, ds.StudyTime = (
                "Test^Sent",
                "1",
                "1",
                "20200101",
                "1200",
            )
            ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 1, number + 1
            ds.Rows = ds.Columns = size
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated = ds.BitsStored = 16
            ds.HighBit, ds.PixelRepresentation = 15, 1
            ds.PixelData = np.full((size, size), number, np.int16).tobytes()
            path = folder / f"{number:04d}.dcm"
            ds.save_as(path, enforce_file_format=True, implicit_vr=ds.file_meta.TransferSyntaxUID.is_implicit_VR)
            paths.append(path)
            instances.append(ds.SOPInstanceUID)
        return Sent(paths, study, series, instances)

    return write


@pytest.fixture
def start_scp() -> Iterator[Callable[..., int]]:
    """Starts storage SCPs whose C-STORE handler is given, `start_scp(handler)`; returns the port."""
    with ExitStack() as stack:

        def opened(event: evt.Event) -> None:
            send_at_once(event)
            stack.callback(event.assoc.dul.socket.socket.close)  # pynetdicom forgets it where it is aborted

        def start(on_store: Callable[[evt.Event], object], **settings: object) -> int:
            ae = AE(ae_title="SCP")
            for name, value in settings.items():
                setattr(ae, name, value)
            ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
            handlers = [(evt.EVT_C_STORE, on_store), (evt.EVT_CONN_OPEN, opened)]
            server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
            stack.callback(server.shutdown)
            return int(server.server_address[1])

        yield start


@dataclass(frozen=True)
class Request:
    """What came to a fault server."""

    method: str
    path: str
    authorization: str
    body: bytes


class Server(ThreadingHTTPServer):
    """Says nothing of clients that have given up waiting."""

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture
def start_http() -> Iterator[Callable[..., tuple[str, list[Request]]]]:
    """Starts HTTP servers that answer as told: `answer(request) -> (status, media type, body)`; returns URL and requests."""
    with ExitStack() as stack:

        def start(answer: Callable[[Request], tuple[int, str, bytes]]) -> tuple[str, list[Request]]:
            requests: list[Request] = []

            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def _serve(self) -> None:
                    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    request = Request(self.command, self.path, self.headers.get("Authorization", ""), body)
                    requests.append(request)
                    status, media_type, content = answer(request)
                    self.send_response(status)
                    self.send_header("Content-Type", media_type)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

                do_GET = do_POST = _serve  # noqa: N815

                def log_message(self, *_: object) -> None:
                    """The tests read `requests`."""

            server = Server(("127.0.0.1", 0), Handler)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}", requests

        yield start


@pytest.fixture
def progress() -> list[int]:
    """Collects what `send` tells of its progress: pass `progress.append`."""
    return []
