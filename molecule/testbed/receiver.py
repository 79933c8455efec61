"""A webhook receiver for the test bed: writes down what Alertmanager sends and when it came. Standard library only.

It runs on the VPS, outside the stack, as a user's receiver would: ``receiver.py ADDRESS PORT FILE``. Each line of
FILE is ``{"at": seconds since 1970, "path": …, "message": what was posted}``.
"""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

IP_FREEBIND = 15  # linux/in.h; Python names it from 3.13 on
ARGUMENTS = 3


class Server(http.server.ThreadingHTTPServer):
    """Listens on an address that may not exist yet: the bridge comes with the first deployment."""

    address_family = socket.AF_INET
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind as always, but to any address."""
        self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        super().server_bind()


def handler(file: Path) -> type[http.server.BaseHTTPRequestHandler]:
    """Return what answers one request: notes it down in ``file``."""
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        """Answers 200 to a POST of JSON, 400 to any other."""

        def do_POST(self) -> None:
            """Note the message."""
            at = time.time()
            try:
                message = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            except ValueError:
                self.send_error(400)
                return
            with lock, file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"at": at, "path": self.path, "message": message}) + "\n")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the file has it all."""

    return Handler


def main(arguments: list[str]) -> int:
    """Serve until killed."""
    if len(arguments) != ARGUMENTS:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    address, port, file = arguments
    Server((address, int(port)), handler(Path(file))).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
