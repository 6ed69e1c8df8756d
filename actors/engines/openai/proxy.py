"""The proxy on the way to a server, by the environment variables that curl and others go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from manifests.errors import ConfigError

SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's address, which may hold a password, and what of it may be shown."""

    url: str = field(repr=False)
    shown: str

    @property
    def remark(self) -> str:
        """For the end of a message about a request that failed."""
        return f" (through the proxy {self.shown} of the environment; NO_PROXY names hosts that need none)"


def proxy_for(address: str) -> Proxy | None:
    """The proxy for a server: ``HTTP_PROXY``, ``HTTPS_PROXY``, else ``ALL_PROXY``, unless ``NO_PROXY``
    lists its host. Loopback is no exception, as with curl.

    Raises ConfigError for a proxy that cannot be used.
    """
    parts = urlsplit(address)
    named = getproxies_environment()
    url = named.get(parts.scheme) or named.get("all")
    if not url or proxy_bypass(parts.netloc):
        return None
    url = url if "://" in url else f"http://{url}"
    try:
        proxy = urlsplit(url)
        shown = f"{proxy.scheme}://{proxy.hostname}" + (f":{proxy.port}" if proxy.port else "")
    except ValueError:
        raise ConfigError(
            _refusal(address, "what the environment names as its proxy is no address")
        ) from None
    if proxy.scheme not in SCHEMES or not proxy.hostname:
        raise ConfigError(_refusal(address, f"its proxy {shown} is none for HTTP"))
    return Proxy(url, shown)


def _refusal(address: str, why: str) -> str:
    return (
        f"engine.openai.server_urls: {address}: {why}: set HTTP_PROXY, HTTPS_PROXY or ALL_PROXY to one like "
        "http://HOST:3128, or name the server's host in NO_PROXY"
    )
