"""Which cloud, with which credentials: checked once, passed to the executable through its environment only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from .._errors import TobikoFacadeError

# A child process gets exactly one kind of these.
_CREDENTIALS = ("TCLOUD_TOKEN", "TCLOUD_CLIENT_ID", "TCLOUD_CLIENT_SECRET")


@dataclass(frozen=True)
class Connection:
    """A base URL and credentials. Without a token or a client id, those of the environment are used."""

    base_url: str
    token: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)

    @staticmethod
    def checked(url: Any, token: Any, client_id: Any, client_secret: Any) -> Connection:
        """From what the user gave: text, an `EnvVar`, or None where a variable is not set.

        Raises:
            TobikoFacadeError: There is no URL, or the credentials contradict each other.
        """
        base_url = plain(url)
        if not base_url:
            variable = getattr(url, "env_var_name", "TCLOUD_BASE_URL")
            raise TobikoFacadeError(
                f"the URL of the Tobiko Cloud project is not set: set the environment variable {variable}, "
                "or give SQLMeshEnterpriseDagster(url=...)"
            )
        connection = Connection(base_url, plain(token), plain(client_id), plain(client_secret))
        if connection.token and connection.client_id:
            raise TobikoFacadeError(
                "both a token and an OAuth client id are given to SQLMeshEnterpriseDagster: give one of them "
                "(the client id with its secret, since tokens are deprecated)"
            )
        if connection.client_secret and not connection.client_id:
            raise TobikoFacadeError(
                "an OAuth client secret is given without its client id: give oauth_client_id as well, "
                "usually from the environment variable TCLOUD_CLIENT_ID"
            )
        return connection

    def environ(self) -> dict[str, str]:
        """The child's environment. Without a token or a client id, it inherits those of this process."""
        environ = dict(os.environ)
        environ["TCLOUD_BASE_URL"] = self.base_url
        if self.token:
            _replace(environ, {"TCLOUD_TOKEN": self.token})
        elif self.client_id:
            # The secret may be left to the environment.
            secret = self.client_secret or environ.get("TCLOUD_CLIENT_SECRET")
            given = {"TCLOUD_CLIENT_ID": self.client_id, "TCLOUD_CLIENT_SECRET": secret}
            _replace(environ, {name: value for name, value in given.items() if value})
        return environ

    def redact(self, text: str) -> str:
        """Masks secrets. The executable prints none; a proxy or a library may have echoed one."""
        for secret in (self.token, self.client_secret):
            if secret:
                text = text.replace(secret, "***")
        return text


def plain(value: Any) -> Any:
    """The value of an `EnvVar`, anything else as it is; blank text counts as unset."""
    if hasattr(value, "get_value"):
        value = value.get_value()
    if isinstance(value, str):
        value = value.strip()
    return value or None


def _replace(environ: dict[str, str], credentials: dict[str, str]) -> None:
    for name in _CREDENTIALS:
        environ.pop(name, None)
    environ.update(credentials)
