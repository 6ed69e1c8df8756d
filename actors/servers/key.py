"""The API key: read from the environment, and shown to nobody but the servers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from manifests.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What the environment variable ``env`` holds; empty where it is not set."""

    env: str
    value: str = field(repr=False)

    @classmethod
    def from_environment(cls, env: str) -> ApiKey:
        value = os.environ.get(env, "").strip()
        if not value.isascii() or any(not mark.isprintable() or mark == " " for mark in value):
            raise ConfigError(f"the environment variable {env} holds no API key: one is ASCII without spaces")
        return cls(env, value)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.value}"} if self.value else {}

    def hidden_in(self, words: str) -> str:
        """Words of a server, which may repeat the key, without it."""
        return words.replace(self.value, "***") if self.value else words

    def refused(self) -> str:
        """What to do when a server wants another."""
        given = "the key in" if self.value else "requests without a key, and there is none in"
        return (
            f"refuses {given} the environment variable {self.env}: put the server's key there, or name "
            "another variable (engine.openai.api_key_env)"
        )
