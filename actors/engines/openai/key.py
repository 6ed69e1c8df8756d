"""The API key: read from the environment, and shown to nobody but the servers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from manifests.errors import ConfigError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
SECRET_LENGTH = 16
"""Shorter values are words like EMPTY, for servers that want none; a page may hold those."""


def check_name(env: str) -> None:
    """Raise ConfigError for what names no environment variable, as a key put in its place."""
    if not NAME.fullmatch(env):
        raise ConfigError(
            "engine.openai.api_key_env: the name of an environment variable, like OPENAI_API_KEY; what it "
            "got is none. The key itself belongs into the environment alone"
        )


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What the environment variable ``env`` holds; empty where it is not set."""

    env: str
    value: str = field(repr=False)

    @classmethod
    def from_environment(cls, env: str) -> ApiKey:
        check_name(env)
        value = os.environ.get(env, "").strip()
        if not value.isascii() or any(not mark.isprintable() or mark == " " for mark in value):
            raise ConfigError(f"the environment variable {env} holds no API key: one is ASCII without spaces")
        return cls(env, value)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.value}"} if self.value else {}

    def hidden_in(self, message: str) -> str:
        """A server's message, which may repeat the key, without it."""
        return message.replace(self.value, "***") if self.value else message

    def struck_from(self, answer: bytes) -> bytes:
        """A server's answer without the key, before any piece of it is shown or stored."""
        if len(self.value) < SECRET_LENGTH:
            return answer
        return answer.replace(self.value.encode(), b"***")

    def refused(self) -> str:
        """What to do when a server wants another."""
        given = "the key in" if self.value else "requests without a key, and there is none in"
        return (
            f"refuses {given} the environment variable {self.env}: put the server's key there, or name "
            "another variable (engine.openai.api_key_env)"
        )
