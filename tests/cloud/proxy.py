"""Stands between a function and the services: records every call, and fails some."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True)
class Call:
    """One call, as IAM sees it: an action on a resource, in a context of condition keys."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass
class Trouble:
    """How often calls fail, of a hundred, and by what luck."""

    slow_down: int = 0
    lost_answer: int = 0
    luck: random.Random = field(default_factory=lambda: random.Random(0))


def s3_calls(method: str, path: str, headers: http.client.HTTPMessage) -> Iterator[Call]:
    """What S3 asks IAM about a request."""
    url = urlsplit(path)
    query = parse_qs(url.query, keep_blank_values=True)
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    resource = f"arn:aws:s3:::{bucket}/{key}"
    if not key:
        prefix = query.get("prefix", [""])[0]
        yield Call("s3:ListBucket", f"arn:aws:s3:::{bucket}", (("prefix", prefix),))
        return
    context = ()
    if absent := headers.get("If-None-Match"):
        context = (("if_none_match", absent),)
    match method:
        case "GET" | "HEAD":
            yield Call("s3:GetObject", resource)
        case "PUT" | "POST":
            yield Call("s3:PutObject", resource, context)
        case "DELETE" if "uploadId" in query:
            yield Call("s3:AbortMultipartUpload", resource)
        case "DELETE":
            yield Call("s3:DeleteObject", resource)
        case _:
            yield Call(f"unknown:{method}", resource)


class Proxy:
    """A proxy for one function."""

    def __init__(self, s3: str, glue: str, secrets: str) -> None:
        self.targets = {"s3": s3, "AWSGlue": glue, "secretsmanager": secrets}
        self.calls: set[tuple[Call, int]] = set()
        self.glue_calls: set[tuple[str, str, int]] = set()
        self.secret_calls: set[str] = set()
        self.counts: dict[str, int] = {}
        self.trouble = Trouble()
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stops serving."""
        self.server.shutdown()
        self.server.server_close()

    def record(
        self, service: str, handler: BaseHTTPRequestHandler, body: bytes, status: int
    ) -> None:
        """Notes a call and how it was answered."""
        with self.lock:
            self.counts[service] = self.counts.get(service, 0) + 1
            if service == "s3":
                for call in s3_calls(handler.command, handler.path, handler.headers):
                    self.calls.add((call, status))
            elif service == "AWSGlue":
                target = handler.headers["X-Amz-Target"].split(".")[1]
                self.glue_calls.add((f"glue:{target}", body.decode(), status))
            else:
                self.secret_calls.add(handler.headers["X-Amz-Target"].split(".")[1])

    def handler(proxy) -> type[BaseHTTPRequestHandler]:
        """The class that handles a request."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def handle_call(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                target = self.headers.get("X-Amz-Target")
                service = target.split(".")[0] if target else "s3"
                trouble = proxy.trouble
                if service == "s3" and trouble.luck.randrange(100) < trouble.slow_down:
                    self.answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
                    return
                host = urlsplit(proxy.targets[service]).netloc
                upstream = http.client.HTTPConnection(host, timeout=60)
                try:
                    upstream.putrequest(
                        self.command, self.path, skip_host=True, skip_accept_encoding=True
                    )
                    for name, value in self.headers.items():
                        if name.lower() not in HOP_BY_HOP:
                            upstream.putheader(name, value)
                    upstream.endheaders(body)
                    answer = upstream.getresponse()
                    content = answer.read()
                finally:
                    upstream.close()
                proxy.record(service, self, body, answer.status)
                if trouble.luck.randrange(100) < trouble.lost_answer:
                    self.close_connection = True
                    self.connection.close()
                    return
                headers = {k: v for k, v in answer.getheaders() if k.lower() not in HOP_BY_HOP}
                self.answer(answer.status, headers, content)

            def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if self.command == "HEAD" or name.lower() != "content-length":
                        self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(content)))
                elif "content-length" not in {name.lower() for name in headers}:
                    self.send_header("Content-Length", "0")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_call

        return Handler
