"""Where model providers are: read from the environment in the composition root.

`OPENAI_BASE_URL` and `OPENAI_API_KEY` as every client of that protocol reads them; any number of further ones as
`HEADGATE_PROVIDER_<NAME>_BASE_URL` and `HEADGATE_PROVIDER_<NAME>_API_KEY`, used as `<name>/model`.
"""

import re
from collections.abc import Mapping

import msgspec
from yarl import URL

_FURTHER = re.compile(r"HEADGATE_PROVIDER_([A-Z0-9_]+)_BASE_URL")
_OPENAI = "https://api.openai.com/v1"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One provider: the address that `/chat/completions` is appended to, and its key."""

    base_url: str
    api_key: str = ""

    @property
    def host(self) -> str:
        """The host, which an operator's configuring it opens for egress."""
        return URL(self.base_url).host or ""


def read_endpoints(environment: Mapping[str, str]) -> dict[str, Endpoint]:
    """The configured endpoints by provider name. ValueError names the variable of one that is no URL."""
    found = {
        "openai": Endpoint(
            base_url=environment.get("OPENAI_BASE_URL") or _OPENAI, api_key=environment.get("OPENAI_API_KEY", "")
        )
    }
    for variable, value in environment.items():
        if match := _FURTHER.fullmatch(variable):
            key = environment.get(f"HEADGATE_PROVIDER_{match[1]}_API_KEY", "")
            found[match[1].lower().replace("_", "-")] = Endpoint(base_url=value, api_key=key)
    for name, endpoint in found.items():
        if not URL(endpoint.base_url).host:
            raise ValueError(f"the base URL of the model provider `{name}` is not a URL")
    return found
