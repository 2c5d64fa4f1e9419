"""The local cloud as the recorder sees it: events are posted, with a login where one is set."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ._http import Http, Unreachable
from ._log import level_of_trouble, log
from ._settings import Settings

BATCH_EVENTS = 500
BATCH_BYTES = 512 * 1024


class _Refused(Exception):
    """The server does not want this request, and will not want it later."""


def one_request(lines: Iterable[bytes]) -> list[bytes]:
    """The first lines, as many as make one request."""
    chosen: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line)
        if chosen and (len(chosen) >= BATCH_EVENTS or size > BATCH_BYTES):
            break
        chosen.append(line)
    return chosen


class Server:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = Http(settings)
        self._bearer = ""
        self._bearer_until = 0.0
        self._has_refused = False

    def post(self, lines: Sequence[bytes]) -> None:
        """Returns when the server has the events, or will never want them; else raises Unreachable."""
        try:
            answer = self._request(b"\n".join(lines) + b"\n")
        except _Refused as problem:
            if len(lines) > 1:  # one of them is bad: find out which
                self.post(lines[: len(lines) // 2])
                self.post(lines[len(lines) // 2 :])
                return
            answer = {"accepted": 0, "refused": [str(problem)]}
        if not isinstance(answer, dict) or "accepted" not in answer:
            raise Unreachable("the answer is not a local cloud's: is TCLOUD_BASE_URL right?")
        refused = answer.get("refused")
        if refused:
            text = "the local cloud refused %d of %d events: %s"
            level = level_of_trouble(is_news=not self._has_refused)
            log.log(level, text, len(refused), len(lines), refused[0])
            self._has_refused = True

    def _request(self, body: bytes) -> Any:
        url = f"{self._settings.base_url}/recorder/v1/events"
        headers = {"Content-Type": "application/x-ndjson"}
        if self._settings.client_secret:
            headers["Authorization"] = f"Bearer {self._token()}"
        status, answer = self._http.post(url, body, headers)
        if status == 401 and self._settings.client_secret:
            headers["Authorization"] = f"Bearer {self._token(anew=True)}"
            status, answer = self._http.post(url, body, headers)
        if status in (400, 413, 422):
            raise _Refused(f"HTTP {status} {answer!r:.200}")
        if status != 200:
            raise Unreachable(f"{url} answered HTTP {status}")
        return answer

    def _token(self, anew: bool = False) -> str:
        settings = self._settings
        if anew or not self._bearer or time.monotonic() > self._bearer_until:
            pair = base64.b64encode(f"{settings.client_id}:{settings.client_secret}".encode()).decode()
            headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"}
            form = b"grant_type=client_credentials&scope=tbk%3Ascope%3Aprojects"
            status, answer = self._http.post(settings.token_url, form, headers)
            if status != 200 or not isinstance(answer, dict) or not answer.get("id_token"):
                raise Unreachable(
                    f"the login at {settings.token_url} was answered with HTTP {status}: "
                    "are TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET right?"
                )
            self._bearer = str(answer["id_token"])
            lifetime = float(answer.get("expires_in") or 0)
            self._bearer_until = time.monotonic() + max(lifetime - 300, lifetime / 2)
        return self._bearer
