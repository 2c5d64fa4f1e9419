"""A stand-in for a cluster: the calls of the Kubernetes API that the client makes, with pods as local processes.

    python api_server.py --kubeconfig FILE --image NAME=FOLDER...

Its answers are those of a real API server: the statuses, the events, the errors, the timestamps of the log.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubelet import Pod, now

TOKEN = "the-run-workers-token"
SUBJECT = "system:serviceaccount:dagster:run-worker"
EXAMPLES = Path(__file__).parents[3] / "examples" / "kubernetes"
# The run worker has the permissions of the example's Role: with fewer, tests fail.
(_role, _) = yaml.safe_load_all((EXAMPLES / "rbac.yaml").read_text())
ROLE = {(verb, resource) for rule in _role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
TESTERS = {("create", "secrets"), ("delete", "secrets"), ("create", "pods/eviction")}


class ApiServer:
    """The state of the cluster, and its faults."""

    def __init__(self, images: dict[str, Path]) -> None:
        self.images = images
        self.pods: dict[tuple[str, str], Pod] = {}
        self.secrets: dict[tuple[str, str], dict[str, str]] = {}
        self.namespaces = {"dagster", "default"}
        self.forbidden: set[tuple[str, str]] = set()
        # The next log streams are reset, each after that many bytes.
        self.cuts: list[int] = []
        # The next ones after these stall there.
        self.stalls: list[int] = []
        # The statuses with which the next requests are answered.
        self.outage: list[int] = []
        self.requests: list[str] = []
        self.created: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.cluster = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        for pod in list(self.pods.values()):
            pod.kill()
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self, path: Path) -> Path:
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "stand-in", "cluster": {"server": self.url}}],
                    "users": [{"name": "worker", "user": {"token": TOKEN}}],
                    "contexts": [
                        {
                            "name": "stand-in",
                            "context": {"cluster": "stand-in", "user": "worker", "namespace": "dagster"},
                        }
                    ],
                    "current-context": "stand-in",
                }
            )
        )
        return path


class _Server(ThreadingHTTPServer):
    cluster: ApiServer
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away."""


class _Answer(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        cluster = self.server.cluster
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        cluster.requests.append(f"{method} {self.path}")
        try:
            if cluster.outage:
                code = cluster.outage.pop(0)
                raise _Answer(code, "ServiceUnavailable", "etcdserver: leader changed")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise _Answer(401, "Unauthorized", "Unauthorized")
            found = re.fullmatch(
                r"/api/v1/namespaces/([^/]+)/(pods|events|secrets)(?:/([^/]+))?(?:/(log|eviction))?", url.path
            )
            if not found:
                raise _Answer(404, "NotFound", "the server could not find the requested resource")
            self._serve(method, *found.groups(), query, body)
        except _Answer as answer:
            self._json(answer.status, answer.code)

    def _serve(
        self,
        method: str,
        namespace: str,
        resource: str,
        name: str | None,
        sub: str | None,
        query: dict[str, str],
        body: dict[str, Any],
    ) -> None:
        cluster = self.server.cluster
        verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if name else "list")
        what = f"{resource}/{sub}" if sub else resource
        if (verb, what) not in (ROLE | TESTERS) - cluster.forbidden:
            of = f'{resource} "{name}"' if name else resource
            raise _Answer(
                403,
                "Forbidden",
                f'{of} is forbidden: User "{SUBJECT}" cannot {verb} resource "{what}" in API group "" '
                f'in the namespace "{namespace}"',
            )
        if namespace not in cluster.namespaces:
            raise _Answer(404, "NotFound", f'namespaces "{namespace}" not found')
        if resource == "secrets":
            return self._secret(method, namespace, name, body)
        if verb == "list":
            return self._list(namespace, resource, query)
        if verb == "create" and not sub:
            pod = Pod(namespace, body, cluster.images, cluster.secrets)
            with cluster.lock:
                cluster.created.append(body)
                cluster.pods[namespace, pod.name] = pod
            pod.start(lambda: cluster.pods.pop((namespace, pod.name), None))
            return self._json(pod.json(), 201)
        pod = cluster.pods.get((namespace, name or ""))
        if pod is None:
            raise _Answer(404, "NotFound", f'pods "{name}" not found')
        if sub == "log":
            return self._log(pod, query)
        if sub == "eviction":
            pod.evict_by_api()
            return self._json({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)
        pod.delete()
        return self._json(pod.json())

    def _list(self, namespace: str, resource: str, query: dict[str, str]) -> None:
        field, _, wanted = query.get("fieldSelector", "").partition("=")
        pods = [pod for (space, _), pod in list(self.server.cluster.pods.items()) if space == namespace]
        label, _, value = query.get("labelSelector", "").partition("=")
        if label:
            pods = [pod for pod in pods if (pod.body["metadata"].get("labels") or {}).get(label) == value]
        if resource == "pods":
            items = [pod.json() for pod in pods if field != "metadata.name" or pod.name == wanted]
        else:
            items = [
                each for pod in pods if field != "involvedObject.name" or pod.name == wanted for each in pod.events()
            ]
        kind = "PodList" if resource == "pods" else "EventList"
        self._json({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})

    def _secret(self, method: str, namespace: str, name: str | None, body: dict[str, Any]) -> None:
        secrets = self.server.cluster.secrets
        if method == "POST":
            secrets[namespace, body["metadata"]["name"]] = dict(body.get("stringData") or {})
            return self._json({"kind": "Secret", "apiVersion": "v1", "metadata": body["metadata"]}, 201)
        secrets.pop((namespace, name or ""), None)
        return self._json({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _log(self, pod: Pod, query: dict[str, str]) -> None:
        if pod.waiting_reason:
            raise _Answer(
                400,
                "BadRequest",
                f'container "{pod.container}" in pod "{pod.name}" is waiting to start: {pod.waiting_reason}',
            )
        cluster = self.server.cluster
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        cut = cluster.cuts.pop(0) if cluster.cuts else None
        stall = cluster.stalls.pop(0) if cut is None and cluster.stalls else None
        limit = cut if cut is not None else stall
        for data in pod.log.read(
            follow=query.get("follow") in ("true", "True"),
            stamps=query.get("timestamps") in ("true", "True"),
            since=_since(query),
            tail=int(query["tailLines"]) if "tailLines" in query else None,
        ):
            if limit is None:
                self._chunk(data)
            elif len(data) < limit:
                self._chunk(data)
                limit -= len(data)
            else:
                self._chunk(data[:limit])
                if stall is not None:
                    time.sleep(30)
                return self._reset()
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _json(self, answer: dict[str, Any], code: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _since(query: dict[str, str]) -> str:
    """As a stamp, to compare with those of the log."""
    if "sinceTime" in query:
        return query["sinceTime"].replace("Z", ".000000000Z")
    return now(-float(query["sinceSeconds"])) if "sinceSeconds" in query else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--image", action="append", default=[], help="NAME=FOLDER with its programs")
    arguments = parser.parse_args()
    server = ApiServer({name: Path(folder) for name, _, folder in (each.partition("=") for each in arguments.image)})
    server.kubeconfig(arguments.kubeconfig)
    sys.stdout.write(server.url + "\n")
    sys.stdout.flush()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
