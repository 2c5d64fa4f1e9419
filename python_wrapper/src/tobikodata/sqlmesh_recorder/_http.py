"""One POST with the standard library. Its modules are imported late: an idle run needs none of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ._settings import Settings

REQUEST_SECONDS = 5.0


class Unreachable(Exception):
    """The server can't be told now; later may be better."""


class Http:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opener: Any = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        """The status and the answer: JSON where it is some, else text."""
        import http.client
        import urllib.error
        import urllib.request

        if not url.lower().startswith(("http://", "https://")):
            raise Unreachable(f"{url} is not an http or https address")
        try:
            if self._opener is None:
                self._opener = _opener(self._settings)
            request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310 (see above)
            with self._opener.open(request, timeout=REQUEST_SECONDS) as response:
                status, content = response.status, response.read(1024 * 1024)
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read(1024)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{url}: {error}") from error
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode("utf-8", "replace")


def _opener(settings: Settings) -> Any:
    """urllib's own, with the proxies of the environment, but without its redirects: they take the bearer
    along to another host."""
    import ssl
    import urllib.request

    handlers: list[Any] = [
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ]
    if "https:" in (settings.base_url + settings.token_url).lower():
        context = ssl.create_default_context(cafile=settings.ca_file)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.OpenerDirector()
    for handler in handlers:
        opener.add_handler(handler)
    return opener
