"""Reading study files: safe YAML of limited size, and errors as one sentence with a place."""

from __future__ import annotations

import difflib
import importlib.resources
import os
import re
import types
import typing
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweeps.definition.study import Study
from sweeps.errors import StudyError

__all__ = ["find_study", "load_study", "packaged_studies", "parse_study", "read_yaml"]

MAX_BYTES = 1_000_000
_SUFFIXES = (".yaml", ".yml")


# ------------------------------------------------------------------ finding


def packaged_studies() -> dict[str, Path]:
    """The studies that come with fairsweep, by name."""
    folder = Path(str(importlib.resources.files("sweeps") / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_study(study: str) -> Path:
    """The file of a study given as a path or as the name of a packaged study.

    A name is what has neither a folder nor a YAML suffix; such a file in the working folder is
    reached as ``./name``.

    Raises:
        StudyError: If there is no such file or packaged study; names the packaged ones.
    """
    path = Path(study)
    is_path = path.suffix in _SUFFIXES or os.sep in study or study.startswith("~")
    if is_path:
        path = path.expanduser()
        if path.is_file():
            return path
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise StudyError(f"study file {path} {what}; {_packaged_hint(path.stem)}")
    packaged = packaged_studies()
    if study in packaged:
        return packaged[study]
    raise StudyError(f"there is no packaged study {study!r}; {_packaged_hint(study)}")


def _packaged_hint(name: str) -> str:
    packaged = packaged_studies()
    names = ", ".join(packaged) or "none"
    return f"give the path of a YAML file or a packaged study: {names}{_closest(name, packaged)}"


def load_study(study: str) -> Study:
    """Reads and checks the form of a study given as a path or packaged name.

    Raises:
        StudyError: If there is none, it cannot be read, or its form is not valid.
    """
    path = find_study(study)
    try:
        return parse_study(read_yaml(path))
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error


# ------------------------------------------------------------------ YAML


class _Loader(yaml.SafeLoader):
    """Plain values only; repeated keys and aliases are errors; ``1e-3`` is a number."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuses aliases, with which a small file can grow without bound."""
        if self.check_event(yaml.events.AliasEvent):
            raise StudyError(f"line {self.line + 1}: YAML aliases are not allowed; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuses a key that is given twice, which YAML would let pass."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str) and key in seen:
                line = key_node.start_mark.line + 1
                raise StudyError(f"line {line}: the key {key!r} is given twice")
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML speaks, reads 1e-3 as a text.
_FLOAT = re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_yaml(path: Path) -> Any:
    """Reads a YAML file of plain values.

    Raises:
        StudyError: If it cannot be read, is too large, or is not valid YAML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise StudyError(f"the file is larger than {MAX_BYTES:,} bytes")
        # A subclass of SafeLoader, so no less safe than yaml.safe_load.
        return yaml.load(raw.decode("utf-8"), Loader=_Loader)  # noqa: S506
    except OSError as error:
        raise StudyError(f"the file cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StudyError("the file is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise StudyError(f"line {line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"not valid YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise StudyError("the YAML is nested too deeply") from error
    except (AttributeError, TypeError, OverflowError) as error:
        # What PyYAML makes of a tag such as !!timestamp before a text that is none.
        raise StudyError("not valid YAML: a value does not fit its tag") from error


# ------------------------------------------------------------------ form


def parse_study(data: Any) -> Study:
    """Checks the form of a study that was read from YAML.

    Raises:
        StudyError: One sentence: the dotted place in the file, what is wrong, what is valid.
    """
    if not isinstance(data, dict):
        keys = ", ".join(Study.model_fields)
        raise StudyError(f"a study is a mapping with the keys {keys}")
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        # A mistyped key explains the missing one beside it, so it comes first.
        details = sorted(
            _of_one_branch(error.errors(include_url=False)),
            key=lambda detail: detail["type"] != "extra_forbidden",
        )
        more = len(details) - 1
        suffix = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
        raise StudyError(_sentence(details[0]) + suffix) from error


def _of_one_branch(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Of what is wrong with a value that may be of several kinds, what is wrong as the kind it is.

    That is the kind in which an error lies deepest, the first of equals.
    """
    best: dict[tuple[int | str, ...], tuple[int, int | str]] = {}
    branches = [_branch(detail) for detail in details]
    for detail, index in zip(details, branches, strict=True):
        place = detail["loc"]
        if index is not None and len(place) > best.get(place[:index], (0, ""))[0]:
            best[place[:index]] = (len(place), place[index])
    return [
        detail
        for detail, index in zip(details, branches, strict=True)
        if index is None or best[detail["loc"][:index]][1] == detail["loc"][index]
    ]


def _branch(detail: ErrorDetails) -> int | None:
    """Where the location of an error names a branch of a union; the last part may be any key."""
    place = detail["loc"]
    ends_in_key = detail["type"] in {"extra_forbidden", "missing", "invalid_key"}
    parts = place[:-1] if ends_in_key else place
    return next((index for index, part in enumerate(parts) if _is_union_branch(part)), None)


def _sentence(detail: ErrorDetails) -> str:
    index = _branch(detail)
    place = tuple(part for i, part in enumerate(detail["loc"]) if i != index)
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        valid = _keys_at(place[:-1])
        where = f"{_dotted(place[:-1])}: " if place[:-1] else ""
        key = str(place[-1])
        return f"{where}unknown key {key!r}{_closest(key, valid)}; valid keys: {', '.join(valid)}"
    if kind == "missing":
        where = f"{_dotted(place[:-1])}: " if place[:-1] else ""
        return f"{where}the key {str(place[-1])!r} is missing"
    if kind == "invalid_key":
        where = f"{_dotted(place[:-1])}: " if place[:-1] else ""
        return f"{where}the key {value!r} is not valid; a key should be a text"
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if kind == "value_error":
        return f"{_dotted(place)}: {message}"
    if kind == "model_type":
        message = f"should be a mapping with the keys {', '.join(_keys_at(place))}"
    elif kind == "literal_error" and place == ("start_from",):
        message += " or a list of configurations, each with the keys method, name and settings"
    elif kind == "string_pattern_mismatch":
        message = _PATTERNS.get(str(place[-1]), message)
    elif kind == "too_short":
        least = detail["ctx"]["min_length"]
        message = f"should have at least {least} item{'' if least == 1 else 's'}"
    # Pydantic's subjects, "Input" or a type, are what "it" stands for.
    message = re.sub(r"^[A-Z]\w* (?=should )", "", message)
    return f"{_dotted(place)}: {_short(value)} is not valid; it {message}"


_PATTERNS = {
    "name": "should be at most 64 letters, digits, '_', '.' or '-', the first a letter or digit",
}


def _is_union_branch(part: int | str) -> bool:
    """Whether a part of a location names a branch of a union, not a key of the file."""
    branches = {"int", "float", "str", "constrained-int"}
    return isinstance(part, str) and (part in branches or "[" in part)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _dotted(place: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in place) or "the study"


def _closest(name: str, valid: Iterable[str]) -> str:
    match = difflib.get_close_matches(name, list(valid), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _keys_at(place: Iterable[int | str]) -> list[str]:
    """The valid keys of the section at a place of a study."""
    model: type[BaseModel] = Study
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            inner = _section_in(model.model_fields[part].annotation)
            if inner is not None:
                model = inner
    return list(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = typing.get_origin(annotation)
    if origin in {list, typing.Union, types.UnionType, typing.Annotated}:
        for argument in typing.get_args(annotation):
            found = _section_in(argument)
            if found is not None:
                return found
    return None
