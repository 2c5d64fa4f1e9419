"""The local cloud, as the recorder sees it: it accepts events by POST, and may require a login.

The modules of the standard library that this needs are imported late: an idle run needs none of them.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._guard import failure_level, log
from ._settings import Settings

REQUEST_EVENTS = 500
REQUEST_BYTES = 512 * 1024
TIMEOUT_SECONDS = 5.0
MAX_REASONS = 10  # of refusals, that are logged as warnings


class Unavailable(Exception):
    """The server can't be reached or does not answer as it should; a later attempt may succeed."""


class _BadRequest(Exception):
    """The server rejects this request, and would do so again."""


def one_request(lines: Iterable[bytes]) -> list[bytes]:
    """The first lines, as many as fit into one request."""
    chosen: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line)
        if chosen and (len(chosen) >= REQUEST_EVENTS or size > REQUEST_BYTES):
            break
        chosen.append(line)
    return chosen


class Server:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opener: Any = None
        self._bearer = ""
        self._renew_at = 0.0
        self._reasons: set[str] = set()  # for which events were refused

    def post(self, lines: Sequence[bytes]) -> None:
        """Sends the events; those that the server refuses are dropped.

        Raises: Unavailable.
        """
        try:
            answer = self._request(b"\n".join(lines) + b"\n")
        except _BadRequest as error:
            if len(lines) > 1:  # one of them is invalid: find out which
                self.post(lines[: len(lines) // 2])
                self.post(lines[len(lines) // 2 :])
                return
            answer = {"accepted": 0, "refused": [str(error)]}
        if not isinstance(answer, dict) or "accepted" not in answer:
            raise Unavailable("the response is not a local cloud's: is TCLOUD_BASE_URL correct?")
        for refused in answer.get("refused") or ():
            reason = str(refused.get("reason", refused) if isinstance(refused, dict) else refused)
            level = failure_level(is_new=reason not in self._reasons and len(self._reasons) < MAX_REASONS)
            self._reasons.add(reason)
            log.log(level, "the local cloud refused an event, which is dropped: %s", reason)

    def _request(self, body: bytes) -> Any:
        url = f"{self._settings.base_url}/recorder/v1/events"
        headers = {"Content-Type": "application/x-ndjson"}
        if self._settings.client_secret:
            headers["Authorization"] = f"Bearer {self._token()}"
        status, answer = self._post(url, body, headers)
        if status == 401 and self._settings.client_secret:
            headers["Authorization"] = f"Bearer {self._token(renew=True)}"
            status, answer = self._post(url, body, headers)
        if status in (400, 413, 422):
            raise _BadRequest(f"HTTP {status} {answer!r:.200}")
        if status != 200:
            raise Unavailable(f"{url} responded with HTTP {status}")
        return answer

    def _token(self, renew: bool = False) -> str:
        settings = self._settings
        if renew or not self._bearer or time.monotonic() > self._renew_at:
            pair = base64.b64encode(f"{settings.client_id}:{settings.client_secret}".encode()).decode()
            headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"}
            form = b"grant_type=client_credentials&scope=tbk%3Ascope%3Aprojects"
            status, answer = self._post(settings.token_url, form, headers)
            if status != 200 or not isinstance(answer, dict) or not answer.get("id_token"):
                raise Unavailable(
                    f"authentication at {settings.token_url} failed with HTTP {status}: "
                    "are TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET correct?"
                )
            self._bearer = str(answer["id_token"])
            lifetime = float(answer.get("expires_in") or 0)
            self._renew_at = time.monotonic() + max(lifetime - 300, lifetime / 2)
        return self._bearer

    def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        """The status and the response: parsed if it is JSON, else as text."""
        import http.client
        import urllib.error
        import urllib.request

        if not url.lower().startswith(("http://", "https://")):
            raise Unavailable(f"{url} is not an http or https URL")
        try:
            if self._opener is None:
                self._opener = _build_opener(self._settings)
            request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310 (see above)
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                status, content = response.status, response.read(1024 * 1024)
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read(1024)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{url}: {error}") from error
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode("utf-8", "replace")


def _build_opener(settings: Settings) -> Any:
    """urllib's opener with the environment's proxies, but without redirects: they would send the bearer token
    to another host."""
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
