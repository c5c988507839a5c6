"""The floor: the least that could be called the same server, from the standard library alone.

It proves the bearer, reads the Secret from a directory, makes sure by one durable commit that a promotion dispatches
once, sends one POST over a connection that it keeps, writes the run's ID by a commit that waits for no disk, and
answers. It has no metrics, no log, no time limit, no drain, and whatever goes wrong is lost.

    python stdlib_relay.py PORT TOKEN_FILE SECRETS_DIRECTORY LEDGER
"""

import json
import sqlite3
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PORT, TOKEN_FILE, SECRETS, LEDGER = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]

token = TOKEN_FILE.read_text().strip()
lock = threading.Lock()
ledger = sqlite3.connect(LEDGER, isolation_level=None, check_same_thread=False)
ledger.execute("PRAGMA journal_mode=WAL")
ledger.execute("CREATE TABLE IF NOT EXISTS sent (key TEXT PRIMARY KEY, run INTEGER) WITHOUT ROWID")
kept = threading.local()


def dispatch(context: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    key = context["promotionUID"]
    with lock:
        ledger.execute("PRAGMA synchronous=FULL")
        mine = ledger.execute("INSERT OR IGNORE INTO sent VALUES (?, NULL)", (key,)).rowcount
    if not mine:
        return {"status": "Failed", "message": "sent before", "terminal": True, "output": {}}
    secret = SECRETS / context["project"] / config["credentials"]["secretName"]
    github = urlsplit((secret / "baseURL").read_text().strip())
    if not hasattr(kept, "connection"):
        kept.connection = HTTPConnection(github.netloc, timeout=30)
    kept.connection.request(
        "POST",
        f"/api/v3/repos/{config['owner']}/{config['repo']}/actions/workflows/{config['workflowFile']}/dispatches",
        json.dumps({"ref": config["ref"], "inputs": config["inputs"], "return_run_details": True}),
        {
            "Authorization": f"Bearer {(secret / 'accessToken').read_text().strip()}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    run = json.loads(kept.connection.getresponse().read())
    with lock:
        ledger.execute("PRAGMA synchronous=NORMAL")
        ledger.execute("UPDATE sent SET run = ? WHERE key = ?", (run["workflow_run_id"], key))
    return {"status": "Succeeded", "output": {"runID": run["workflow_run_id"], "url": run["html_url"]}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        self.reply(200 if self.path in ("/readyz", "/healthz") else 404, {})

    def do_POST(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {token}":
            self.close_connection = True
            return self.reply(403, {})
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return self.reply(200, dispatch(request["context"], request["step"]["config"]))

    def reply(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parameter's name in http.server
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024  # the default of 5 would have callers wait a second for their connection


Server(("127.0.0.1", PORT), Handler).serve_forever()
