"""The local cloud, as the recorder sees it: it accepts events by POST, and may require a login."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._connection import Connection
from ._guard import failure_level, log
from ._settings import Settings

REQUEST_EVENTS = 500
REQUEST_BYTES = 512 * 1024
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
        self._connection = Connection(settings.ca_file)
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

        if not url.lower().startswith(("http://", "https://")):
            raise Unavailable(f"{url} is not an http or https URL")
        try:
            status, content = self._connection.post(url, body, headers)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unavailable(f"{url}: {error}") from error
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode("utf-8", "replace")
