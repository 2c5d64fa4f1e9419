"""The HTTP connection to the local cloud, which is kept open from one request to the next.

It goes through the environment's proxy, if there is one, and follows no redirects: they would send the bearer token
to another host. The modules of the standard library that it needs are imported late: an idle run needs none of them.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

TIMEOUT_SECONDS = 5.0
KEEP_SECONDS = 30.0  # without a request; whatever is between here and the server may have forgotten an older one
MAX_ANSWER_BYTES = 1024 * 1024


class Connection:
    def __init__(self, ca_file: str | None) -> None:
        self._ca_file = ca_file
        self._tls: Any = None
        self._http: Any = None
        self._origin = ("", "")
        self._absolute = False  # a proxy is asked for the whole URL
        self._headers: Mapping[str, str] = {}  # for the proxy
        self._used_at = 0.0

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The status and the body of the response.

        Raises: OSError, http.client.HTTPException.
        """
        parts = urlsplit(url)
        if (parts.scheme, parts.netloc) != self._origin or time.monotonic() - self._used_at > KEEP_SECONDS:
            self.close()
        is_kept = self._http is not None and self._http.sock is not None
        try:
            return self._exchange(parts, body, headers)
        except OSError as error:
            if not is_kept or isinstance(error, (TimeoutError, socket.timeout)):
                raise
        # The server has closed the kept connection. It recognizes what it has received already.
        return self._exchange(parts, body, headers)

    def close(self) -> None:
        connection, self._http = self._http, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def _exchange(self, parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            if self._http is None:
                self._open(parts)
            path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            target = f"{parts.scheme}://{parts.netloc}{path}" if self._absolute else path
            self._http.request("POST", target, body, {**headers, **self._headers})
            response = self._http.getresponse()
            content = response.read(MAX_ANSWER_BYTES)
            if not response.isclosed():  # there is more of it
                self.close()
        except BaseException:
            self.close()
            raise
        self._used_at = time.monotonic()
        return response.status, content

    def _open(self, parts: SplitResult) -> None:
        import http.client

        self._origin = (parts.scheme, parts.netloc)
        proxy, credentials = _proxy_for(parts)
        host = proxy or parts.netloc
        is_https = parts.scheme.lower() == "https"
        if is_https:
            self._http = http.client.HTTPSConnection(host, timeout=TIMEOUT_SECONDS, context=self._tls_context())
            if proxy:
                self._http.set_tunnel(parts.netloc, headers=credentials)
        else:
            self._http = http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)
        self._absolute = bool(proxy) and not is_https
        self._headers = credentials if self._absolute else {}

    def _tls_context(self) -> Any:
        import ssl

        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._ca_file)
        return self._tls


def _proxy_for(parts: SplitResult) -> tuple[str, dict[str, str]]:
    """The proxy's host and port, and the headers with its credentials; empty if there is no proxy for that URL."""
    import urllib.request

    proxy = urllib.request.getproxies().get(parts.scheme.lower())
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return "", {}
    found = urlsplit(proxy if "://" in proxy else f"//{proxy}")
    user, _, host = found.netloc.rpartition("@")
    if not user:
        return host, {}
    return host, {"Proxy-Authorization": f"Basic {base64.b64encode(unquote(user).encode()).decode()}"}
