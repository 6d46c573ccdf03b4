"""params.yaml: one section per stage, each a frozen pydantic model that its stage file declares.

Every error names file, section, field, value and what is allowed, and is raised before any work.
"""

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

PARAMS_FILE = "params.yaml"
_SIGNS = {
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "multiple_of": "a multiple of",
    "min_length": "length >=",
    "max_length": "length <=",
}


class ParameterError(ValueError):
    """A parameter is unknown, missing, of the wrong type or out of range."""


class Section(BaseModel):
    """Base of every stage's section: unknown fields are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


S = typing.TypeVar("S", bound=Section)


class RunSection(Section):
    """How work runs; nothing here changes a byte of any artifact, so DVC does not track it."""

    executor: Literal["inline", "process"] = Field("process", description="run units in this process or in a pool")
    workers: int = Field(2, ge=1, description="processes of the pool")
    max_failed: float = Field(0.2, ge=0, le=1, description="share of videos that may fail before the stage fails")
    tracking: bool = Field(True, description="log runs to MLflow")


def read_params(path: Path) -> dict[str, dict[str, Any]]:
    """Read params.yaml as it stands.

    Raises:
        ParameterError: no such file, not YAML, or a section is not a mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ParameterError(f"{path}: there is no such file") from error
    except yaml.YAMLError as error:
        raise ParameterError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ParameterError(f"{path}: must be a mapping of section names to their parameters, not {raw!r}")
    for name, section in raw.items():
        if not (isinstance(name, str) and isinstance(section, dict)):
            raise ParameterError(f"{path}: section {name!r} = {section!r}: must be a mapping of parameters to values")
    return raw


def parse_section(model: type[S], name: str, values: Mapping[str, Any], source: str) -> S:
    """Validate one section.

    Args:
        model: the section's model.
        name: its name in params.yaml.
        values: the raw values.
        source: where they come from, for the error text.

    Raises:
        ParameterError: one line per wrong field.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(model, name, item) for item in error.errors()]
        raise ParameterError("\n".join(f"{source}: {line}" for line in lines)) from None


def check_params(
    raw: Mapping[str, Mapping[str, Any]], models: Mapping[str, type[Section]], source: str
) -> dict[str, Section]:
    """Validate every section of a whole params.yaml against the models of all stages.

    Raises:
        ParameterError: an unknown or missing section, or any wrong field; all faults in one text.
    """
    faults = [
        f"{source}: unknown section {name!r}; allowed: {', '.join(sorted(models))}"
        for name in raw
        if name not in models
    ]
    sections: dict[str, Section] = {}
    for name, model in models.items():
        try:
            sections[name] = parse_section(model, name, raw.get(name, {}), source)
        except ParameterError as error:
            faults.append(str(error))
    if faults:
        raise ParameterError("\n".join(faults))
    return sections


def apply_overrides(raw: Mapping[str, Mapping[str, Any]], overrides: list[str]) -> dict[str, dict[str, Any]]:
    """Return ``raw`` with ``section.key=value`` overrides applied; values are read as YAML.

    Raises:
        ParameterError: an override is not of that form.
    """
    result = {name: dict(section) for name, section in raw.items()}
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.strip().partition(".")
        if not (equals and dot and section and key):
            raise ParameterError(f"override {override!r}: must have the form section.key=value")
        target = result.setdefault(section, {})
        *parents, leaf = key.split(".")
        for parent in parents:
            child = target.get(parent, {})
            if not isinstance(child, dict):
                raise ParameterError(f"override {override!r}: {section}.{parent} is a value, not a group")
            target[parent] = dict(child)
            target = target[parent]
        try:
            target[leaf] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ParameterError(f"override {override!r}: the value is not valid YAML: {error}") from error
    return result


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one level with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _explain(model: type[BaseModel], section: str, item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    field = ".".join([section, *location])
    if item["type"] == "extra_forbidden":
        info = _field_at(model, location[:-1])
        holder = info.annotation if info else model
        allowed = ", ".join(sorted(getattr(holder, "model_fields", {})))
        return f"unknown parameter {field} = {item['input']!r}; allowed there: {allowed}"
    if item["type"] == "missing":
        return f"{field} is missing; allowed: {_allowed(model, location)}"
    return (
        f"{field} = {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}; allowed: {_allowed(model, location)}"
    )


def _field_at(model: type[BaseModel], location: list[str]) -> FieldInfo | None:
    """The field that a location ends at, or the innermost one around it (an element of a list has no field)."""
    info = None
    for part in location:
        if part not in model.model_fields:
            break
        info = model.model_fields[part]
        if not (isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)):
            break
        model = info.annotation
    return info


def _allowed(model: type[BaseModel], location: list[str]) -> str:
    info = _field_at(model, location)
    if info is None:
        return "see the section's model"
    limits = [
        f"{sign} {getattr(limit, name)}"
        for limit in info.metadata
        for name, sign in _SIGNS.items()
        if hasattr(limit, name)
    ]
    return ", ".join([_type_name(info.annotation), *limits])


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        return "one of " + ", ".join(repr(value) for value in typing.get_args(annotation))
    if isinstance(annotation, types.UnionType):
        return " or ".join(_type_name(part) for part in typing.get_args(annotation))
    return getattr(annotation, "__name__", str(annotation)) if not typing.get_args(annotation) else str(annotation)
