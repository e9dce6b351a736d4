"""A small web server whose answers a test decides."""

import http.server
import threading


class Web:
    """Listens on a free port of this machine. `answer(path, number)` gives status, headers, body;
    `number` counts the requests from 1. `asked` holds the paths
    and headers (names in lower case) of what was asked for."""

    def __init__(self, answer):
        self.asked = []
        lock = threading.Lock()
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the name is the library's)
                with lock:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    web.asked.append((self.path, headers))
                    number = len(web.asked)
                status, headers, body = answer(self.path, number)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
