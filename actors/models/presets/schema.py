"""What a preset file may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    field_validator,
    model_validator,
)

from actors.postprocess.dialects import DIALECTS, PLAIN

EngineKind = Literal["vllm", "transformers", "openai"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Settings = Mapping[str, Mapping[str, JsonValue]]
"""Part of a job's configuration: sections, and their settings."""
SUBJECT = "{subject}"
"""In a mode's prompt, stands for what ``engine.subject`` names."""


class Mode(BaseModel):
    """One thing a model can be asked. ``dialect`` says how it answers (``actors.postprocess.dialects``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    about: str
    dialect: str = PLAIN
    settings: Settings = Field(default_factory=dict)

    @field_validator("dialect")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in DIALECTS:
            raise ValueError(f"must be one of {', '.join(DIALECTS)}; got {value!r}")
        return value


class Size(BaseModel):
    """One size at which a model looks at an image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    settings: Settings = Field(default_factory=dict)


class Form(BaseModel):
    """One form of a model's checkpoints: which engines load it, and where it is.

    An architecture that several models share is told apart by the type of its text model. ``checkpoints``
    are hub ids by weights (``8b``), ``revisions`` the commits of those that are pinned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    text_model_types: tuple[str, ...] = ()
    engines: tuple[Literal["vllm", "transformers"], ...]
    needs_remote_code: bool = False
    checkpoints: Mapping[Name, str]
    revisions: Mapping[Name, str] = Field(default_factory=dict)


class Preset(BaseModel):
    """A model's settings, as the lowest layer of a job's configuration over the defaults.

    ``settings`` come first, those of ``engine_settings`` for the engine over them, then those of the
    size and of the mode. ``sized_by`` are the engines that can be told a size. Any server may serve any
    model, so the openai engine is in no list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    title: str
    about: str
    license: str = ""
    sources: tuple[str, ...]
    weights: Mapping[Name, float] = Field(description="Billions of parameters, about.")
    default_weights: str = ""
    forms: tuple[Form, ...]
    settings: Settings = Field(default_factory=dict)
    engine_settings: Mapping[str, Settings] = Field(default_factory=dict)
    modes: Mapping[Name, Mode]
    default_mode: str
    sized_by: tuple[EngineKind, ...] = ()
    sizes: Mapping[Name, Size] = Field(default_factory=dict)
    default_size: str = ""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known = {
            "default_mode": (self.default_mode, self.modes),
            "default_size": (self.default_size, self.sizes),
            "default_weights": (self.default_weights, self.weights),
        }
        for field, (name, names) in known.items():
            if name not in names and (name or names):
                raise ValueError(f"{field} must be one of {', '.join(names)}; got {name!r}")
        for form in self.forms:
            if unknown := set(form.checkpoints) - set(self.weights):
                raise ValueError(f"{form.architecture}: weights {sorted(unknown)} are not listed")
        return self

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines that load the model themselves, in the order of preference."""
        return tuple(dict.fromkeys(engine for form in self.forms for engine in form.engines))
