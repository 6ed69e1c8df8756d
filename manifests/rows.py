"""One row of a manifest: what it may say, checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, ValidationError

from manifests.errors import ManifestError
from manifests.formats.files import MAX_LINE_BYTES, Line
from manifests.identity import normal_uri, valid_id
from manifests.pages import parse_pages

MAX_IMAGES = 64
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_WHOLE = re.compile(r"\s*(\d+)\.0*\s*")
_IMAGES = frozenset({"image", "images"})
_NO_ADDRESS = "uri: must be given: a path or an s3:// address"


def _valid_uri(written: str) -> str:
    uri = normal_uri(written)
    scheme, separator, rest = uri.partition("://")
    if "\0" in uri:
        raise ValueError("must not hold a NUL character")
    bucket, _, key = rest.partition("/")
    if not separator or not _SCHEME.fullmatch(scheme) or (scheme == "s3" and bucket and key):
        return uri
    if scheme == "file" and rest.startswith("/") and "%00" not in rest:
        return uri
    raise ValueError(f"must be a path, s3://bucket/key or file:///path, got {written!r}")


def _valid_pages(pages: str) -> str:
    whole = _WHOLE.fullmatch(pages)
    selection = whole[1] if whole else pages.strip()
    parse_pages(selection)
    return selection


def _valid_sha256(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise ValueError(f"must be 64 hexadecimal digits, got {digest!r}")
    return digest.lower()


def _whole_number(value: Any) -> Any:
    """An integer where a float stands for one, as beside a gap in a column of pandas."""
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def _each(value: Any) -> Any:
    """One value, or several as a list or its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        return json.loads(value)
    return value if isinstance(value, (list, tuple)) else [value]


_Uri = Annotated[StrictStr, AfterValidator(_valid_uri)]
_Sha256 = Annotated[str, AfterValidator(str.strip), AfterValidator(_valid_sha256)]
_Size = Annotated[int, Field(ge=0, lt=2**63)]
_Text = Annotated[str, Field(coerce_numbers_to_str=True)]


class _Row(BaseModel):
    """What any row may say. Unknown columns are kept and become the document's metadata."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: Annotated[str, BeforeValidator(_whole_number), AfterValidator(valid_id)] = Field(
        "", coerce_numbers_to_str=True
    )
    pages: Annotated[str, BeforeValidator(_whole_number), AfterValidator(_valid_pages)] = Field(
        "", coerce_numbers_to_str=True
    )
    prompt: StrictStr = ""


class DocumentRow(_Row):
    """A row of one file.

    ``etag`` is another name for ``version``. Both, and ``size``, count for remote documents only:
    a local file is asked itself.
    """

    uri: _Uri
    sha256: Annotated[StrictStr, AfterValidator(str.strip), AfterValidator(_valid_sha256)] = ""
    size: _Size = 0
    version: str = Field("", coerce_numbers_to_str=True)
    etag: str = Field("", coerce_numbers_to_str=True)


class ImagesRow(_Row):
    """A row of several images that one page shows; what is said of them is a list with one for each."""

    images: Annotated[tuple[_Uri, ...], Field(max_length=MAX_IMAGES)]
    sha256: Annotated[tuple[_Sha256, ...], BeforeValidator(_each)] = ()
    size: Annotated[tuple[_Size, ...], BeforeValidator(_each)] = ()
    version: Annotated[tuple[_Text, ...], BeforeValidator(_each)] = ()
    etag: Annotated[tuple[_Text, ...], BeforeValidator(_each)] = ()


def checked(line: Line) -> DocumentRow | ImagesRow:
    """The row as a model; empty cells count as absent. Raises ManifestError with the row's location."""
    if line.problem:
        raise ManifestError(f"{line.location}: {line.problem}")
    present = {
        name: value
        for name, value in line.fields.items()
        if value is not None and value != "" and value == value  # a NaN is how pandas writes an empty cell
    }
    try:
        return _modelled(present)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors())
        raise ManifestError(f"{line.location}: {problems}") from None
    except ValueError as error:
        raise ManifestError(f"{line.location}: {error}") from None


def _modelled(present: dict[str, Any]) -> DocumentRow | ImagesRow:
    """Raises ValueError, of which ValidationError is one."""
    if "qid" in present and "id" not in present:
        present["id"] = present.pop("qid")
    if "uri" in present and not _IMAGES & present.keys():
        return DocumentRow.model_validate(present)
    given = [name for name in ("uri", "image", "images") if name in present]
    if len(given) != 1:
        raise ValueError(f"{given[1]}: give {' or '.join(given)}, not both" if given else _NO_ADDRESS)
    try:
        images = [image for image in _each(present.pop(given[0])) if image not in ("", None)]
    except ValueError as error:
        raise ValueError(f"{given[0]}: must be an address or a list of them: {error}") from error
    if not images:
        raise ValueError(_NO_ADDRESS)
    if len(images) == 1:
        return DocumentRow.model_validate({**present, "uri": images[0]})
    row = ImagesRow.model_validate({**present, "images": images})
    for name in ("sha256", "size", "version", "etag"):
        if len(getattr(row, name)) not in (0, len(images)):
            raise ValueError(f"{name}: must be a list with one for each of the {len(images)} images")
    return row


def _problem(detail: Any) -> str:
    field = str(detail["loc"][0])
    if detail["type"] == "value_error":
        return f"{field}: {detail['ctx']['error']}"
    if detail["type"] == "too_long":
        return f"{field}: must be at most {MAX_IMAGES}, got {len(detail['input'])}"
    kind = "a number, 0 or more" if field == "size" else "text"
    return f"{field}: must be {kind}, got {detail['input']!r}"


def metadata_json(columns: Mapping[str, Any]) -> str:
    """Unknown columns as a JSON object of texts and numbers; anything else is kept as its JSON text.

    Raises ValueError when they hold more than a line of JSONL may.
    """
    kept = {name: _plain(value) for name, value in columns.items()}
    text = json.dumps(kept, ensure_ascii=False)
    if len(text) > MAX_LINE_BYTES:
        raise ValueError(f"columns: must hold at most {MAX_LINE_BYTES} characters, got {len(text)}")
    return text


def _plain(value: Any) -> str | int | float:
    if type(value) in (str, int) or (isinstance(value, float) and math.isfinite(value)):
        return value  # type: ignore[no-any-return]  # narrowed by type(), which mypy does not follow
    return json.dumps(value, ensure_ascii=False, default=str)
