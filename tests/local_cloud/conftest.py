"""The real executable's local cloud, which requires one OAuth client, with a small story in it.

The public client reads its settings from the environment when it is imported: so the server starts first.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cloud_server import CloudServer, executable_under_test
from story import Story

CLIENT_ID = "5f0c2f3e-dagster"
CLIENT_SECRET = "hush+hush%hush"


@dataclass
class LocalCloud:
    """A running `tobiko-facade serve`."""

    url: str
    token_url: str
    home: Path
    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET

    def record(self, events: list[dict[str, Any]]) -> None:
        """Sends events, as the recorder does; the server must accept all of them."""
        lines = "".join(json.dumps(event) + "\n" for event in events)
        headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {self._login()}"}
        result = self._post(f"{self.url}/recorder/v1/events", lines, headers)
        assert result == {"accepted": len(events), "known": 0, "refused": []}

    def forget_login(self) -> None:
        """The public client shares one cached login: a second client would get the first one's."""
        (self.home / "auth.yaml").unlink(missing_ok=True)

    def _login(self) -> str:
        pair = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "tbk:scope:projects"})
        return str(self._post(self.token_url, form, {"Authorization": f"Basic {pair}"})["id_token"])

    def _post(self, url: str, body: str, headers: dict[str, str]) -> dict[str, Any]:
        request = urllib.request.Request(url, body.encode(), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as answer:
            content: dict[str, Any] = json.load(answer)
            return content


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("local-cloud")
    executable = executable_under_test()
    assert executable, "the executable is not there"
    server = CloudServer(executable, folder, client=(CLIENT_ID, CLIENT_SECRET))
    home = folder / "tcloud"
    os.environ.update(TCLOUD_TOKEN_URL=server.token_url, TCLOUD_HOME=str(home), NO_PROXY="*", no_proxy="*")
    os.environ.pop("TCLOUD_CLIENT_SECRET", None)
    os.environ.pop("TCLOUD_SCOPE", None)
    try:
        yield LocalCloud(server.base_url, server.token_url, home)
    finally:
        assert server.terminate() == 0


@pytest.fixture(scope="session")
def story(cloud: LocalCloud) -> Story:
    story = Story()
    cloud.record(story.events)
    return story
