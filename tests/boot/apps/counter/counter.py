"""Answers with a number that a wheel has, and with a text of its own."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer

import shop_numbers

TEXT = "image"


class Handler(BaseHTTPRequestHandler):
    def address_string(self):
        return "client"

    def do_GET(self):
        body = json.dumps({"number": shop_numbers.NUMBER, "text": TEXT}).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    HTTPServer.allow_reuse_address = True
    HTTPServer(("", 8082), Handler).serve_forever()
