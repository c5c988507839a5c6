"""What starting a server costs at least: http.server with /readyz, and nothing else. A program: PORT."""

import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parameter's name in http.server
        pass


class Server(ThreadingHTTPServer):
    def server_bind(self) -> None:  # http.server's own asks the resolver for the machine's name
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
