"""A web server of the trial that can be killed: PORT FILE. It notes what is posted, a JSON line each.

It answers as Frigate does where that is asked, and everything else with 204.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = b""
        if self.path.endswith("/create"):
            answer = json.dumps({"success": True, "event_id": f"{time.time_ns()}"}).encode()
        line = {
            "method": self.command,
            "path": self.path,
            "body": json.loads(body),
            "answer": answer.decode(),
        }
        with Path(sys.argv[2]).open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.send_response(200 if answer else 204)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST

    def log_message(self, *arguments: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
