"""Amazon's instance metadata service, version 2, and version 1 where there is no other."""

from __future__ import annotations

import json

from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.clock import Deadline
from firstboot.fetch.errors import FetchError, NotFound
from firstboot.fetch.web import Request, Web

BASE = "http://169.254.169.254"
_TOKEN_SECONDS = 21600
_LIMIT = 1 << 16


class Credentials(NamedTuple):
    """Temporary credentials of the instance's role."""

    key: str
    secret: str
    token: str


class Imds:
    """Asks the service; the session token is got with the first question."""

    def __init__(self, web: Web, deadline: Deadline) -> None:
        self._web = web
        self._deadline = deadline
        self._headers: dict[str, str] | None = None

    def get(self, path: str, limit: int = _LIMIT) -> bytes:
        """What is at a path such as ``/2019-10-01/user-data``.

        Raises:
            NotFound: nothing.
            FetchError
        """
        return self._web.read(Request(BASE + path, self.get_session_headers()), limit, self._deadline)

    def get_session_headers(self) -> dict[str, str]:
        """Headers that make a question one of version 2; none where the service knows only version 1."""
        if self._headers is None:
            wanted = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            try:
                token = self._web.read(Request(f"{BASE}/latest/api/token", wanted, "PUT", b""), _LIMIT, self._deadline)
            except NotFound:
                self._headers = {}
            else:
                self._headers = {"X-aws-ec2-metadata-token": token.decode("ascii", "replace").strip()}
        return self._headers

    def find_region(self) -> str | None:
        """The instance's region, such as ``eu-central-1``."""
        try:
            return self.get("/2019-10-01/meta-data/placement/region").decode("ascii", "replace").strip() or None
        except NotFound:
            return None

    def find_credentials(self) -> Credentials | None:
        """Those of the instance's role, if it has one."""
        path = "/2019-10-01/meta-data/iam/security-credentials/"
        try:
            roles = self.get(path).decode("utf-8", "replace").split()
            if not roles:
                return None
            answer = json.loads(self.get(path + roles[0]))
            return Credentials(answer["AccessKeyId"], answer["SecretAccessKey"], answer["Token"])
        except NotFound:
            return None
        except (ValueError, KeyError, TypeError):
            raise FetchError("the metadata service gives no usable credentials for this instance's role") from None
