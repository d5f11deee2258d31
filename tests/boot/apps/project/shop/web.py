"""Answers with what it was given, on the sockets that systemd handed over."""

import json
import os
import pathlib
import selectors
import socket
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "image"


class Handler(BaseHTTPRequestHandler):
    def address_string(self):
        return "client"

    def do_GET(self):
        body = json.dumps(describe()).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def describe():
    """What a request sees of the app's surroundings."""
    seen = {"version": VERSION, "uid": os.getuid(), "pid": os.getpid(), "argv": sys.argv[1:]}
    seen["etc"] = os.access("/etc", os.W_OK)
    seen["greeting"] = os.environ.get("GREETING")
    if "STATE_DIRECTORY" in os.environ:
        with pathlib.Path(os.environ["STATE_DIRECTORY"], "visits").open("a") as file:
            file.write("x")
    if "SETTINGS_FILE" in os.environ:
        seen["settings"] = tomllib.loads(pathlib.Path(os.environ["SETTINGS_FILE"]).read_text())
    if "CREDENTIALS_DIRECTORY" in os.environ:
        seen["secret"] = len(pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"], "database").read_text())
    return seen


def main():
    """Serve every socket that was handed over (sd_listen_fds(3)) until the end."""
    selector = selectors.DefaultSelector()
    for number in range(int(os.environ["LISTEN_FDS"])):
        handed = socket.socket(fileno=3 + number)
        server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = handed
        selector.register(handed, selectors.EVENT_READ, server)
    while True:
        for key, _ in selector.select():
            key.data.handle_request()


if __name__ == "__main__":
    main()
