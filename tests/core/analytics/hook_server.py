"""A receiver of webhooks on this machine, for tests: notes what came and answers as it is told."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """`answers` are statuses in their turn, the last one for ever. `drip_s`: seconds between letters of the answer."""

    port: int = 0
    answers: list[int] = field(default_factory=lambda: [204])
    drip_s: float = 0.0
    body: bytes = b""
    location: str = ""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/hook?x=1"

    @property
    def allowed(self) -> frozenset[str]:
        return frozenset({f"localhost:{self.port}"})


@contextmanager
def receiver(**options: Any) -> Iterator[Receiver]:
    """Serve until the end of the block."""
    told = Receiver(**options)

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.got.append((self.path, headers, self.rfile.read(length)))
            status = told.answers.pop(0) if len(told.answers) > 1 else told.answers[0]
            if told.drip_s:
                self._drip()
                return
            self.send_response(status)
            if told.location:
                self.send_header("location", told.location)
            self.end_headers()
            self.wfile.write(told.body)

        def _drip(self) -> None:
            try:
                for letter in b"HTTP/1.1 200 OK\r\n" + b"x-slow: " + b"a" * 10_000:
                    self.wfile.write(bytes([letter]))
                    time.sleep(told.drip_s)
            except OSError:
                pass

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
    server.daemon_threads = True
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
