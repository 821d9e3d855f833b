"""Object stores on this machine for tests: S3's protocol (moto), plain HTTP, and a faulty proxy."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

KEY, SECRET = "AKIAFUSEKITTESTKEY00", "fusekit-test-secret-0123456789abcdefghij"


def environment(endpoint=None, cache=None):
    """The variables that lead S3 to a server here, and nowhere else."""
    values = {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    if endpoint:
        values["AWS_ENDPOINT_URL"] = endpoint
    if cache:
        values["FUSEKIT_CACHE"] = str(cache)
    return values


@contextmanager
def s3_server(log):
    """Run moto in a process of its own, with one bucket named ``faces``; gives its endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    with Path(log).open("wb") as out:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        _wait_for(f"{endpoint}/moto-api/", process, log)
        scope = f"AWS4-HMAC-SHA256 Credential={KEY}/20200101/us-east-1/s3/aws4_request"
        header = {"Authorization": f"{scope}, SignedHeaders=host, Signature=0"}
        make = urllib.request.Request(f"{endpoint}/faces", b"", header, method="PUT")
        urllib.request.urlopen(make, timeout=10).close()
        yield endpoint
    finally:
        process.kill()
        process.wait()


def _wait_for(url, process, log):
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(Path(log).read_text())
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)


def upload(folder, endpoint, prefix):
    """Copy a folder's files into the bucket, as ``aws s3 sync`` would."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        "faces", prefix=prefix, endpoint=endpoint, region="us-east-1", access_key_id=KEY,
        secret_access_key=SECRET, client_options={"allow_http": True},
    )  # fmt: skip
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            obstore.put(store, path.relative_to(folder).as_posix(), path)
    return store


class HttpServer:
    """Serve a folder by plain HTTP, with range requests unless told otherwise.

    Attributes:
        url: Where.
        asked: Method, path and range of every request, in order.
        ranges: Whether ranges are answered.
        faults: Path to the faults of its next requests, first to last: a status, ``"cut"`` (half
            of the body, then the connection is closed), ``"other"`` (bytes of the same length that
            are others), ``"region"`` (what S3 says of a bucket elsewhere).
        delay_s: Before every 64 KB of a body.
    """

    def __init__(self, folder):
        self.folder, self.asked, self.ranges = Path(folder), [], True
        self.faults, self.delay_s = {}, 0.0
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # readers are killed in the midst of answers
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def whole(self):
        """The paths that were asked for whole, in order."""
        return [path for method, path, range_ in self.asked if method == "GET" and not range_]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        owner = self.owner
        path, wanted = unquote(self.path).lstrip("/"), self.headers.get("Range")
        owner.asked.append((self.command, path, wanted))
        faults = owner.faults.get(path)
        fault = faults.pop(0) if faults else None
        if fault == "region":
            self._answer(400, b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>")
            return
        if isinstance(fault, int):
            self._answer(fault, json.dumps({"you sent": str(self.headers)}).encode())
            return
        try:
            data = (owner.folder / path).read_bytes()
        except OSError:
            self._answer(404, b"no such file")
            return
        if fault == "other":
            data = data[::-1]
        if wanted and owner.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            first, size = int(first), len(data)
            if first >= size:
                self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            data = data[first : int(last) + 1 if last else size]
            about = {"Content-Range": f"bytes {first}-{first + len(data) - 1}/{size}"}
            self._answer(206, data, about)
            return
        self._answer(200, data, cut=fault == "cut")

    def _answer(self, status, data, headers=None, *, cut=False):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.send_header("ETag", '"x"')
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        data = data[: len(data) // 2] if cut else data
        try:
            for start in range(0, len(data), 1 << 16):
                time.sleep(self.owner.delay_s)
                self.wfile.write(data[start : start + (1 << 16)])
        except OSError:
            self.close_connection = True  # the reader was killed
        if cut:
            self.close_connection = True

    def log_message(self, *parts):
        pass


class FaultyProxy:
    """A TCP proxy before a server that spoils some connections.

    Attributes:
        url: Where.
        faults: What happens to the next connections, first to last: ``"503"``, ``"reset"`` (before
            an answer), ``"cut"`` (after 2,000 bytes of it), ``"slow"``, None (nothing).
        met: The faults that were met.
    """

    def __init__(self, port):
        self._port = port
        self.faults, self.met = [], []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._server.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client:
            try:
                self._pass(client)
            except OSError:
                return  # one of the two hung up

    def _pass(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                return
            head += data
        fault = self.faults.pop(0) if self.faults else None
        self.met += [fault] if fault else []
        if fault == "503":
            client.sendall(
                b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: 5\r\n\r\nslow!"
            )
            return
        if fault == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        left = 2_000 if fault == "cut" else 1 << 60
        with socket.create_connection(("127.0.0.1", self._port)) as server:
            server.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            while left and (data := server.recv(20_000 if fault == "slow" else 65536)):
                client.sendall(data[:left])
                left -= min(left, len(data))
                if fault == "slow":
                    time.sleep(0.002)


def copy_store(source, target):
    """Copy a store's folder, so that a test may spoil its files."""
    return Path(shutil.copytree(source, target))
