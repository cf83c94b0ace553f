"""Tags of a cached call: fixed strings, templates filled from the arguments, or a callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from string import Formatter
from typing import Any

from .._base._checks import function, several
from ..errors import ConfigurationError

__all__ = ["tag_maker"]

TagMaker = Callable[[tuple[Any, ...], dict[str, Any]], Iterable[str]]


def tag_maker(
    tags: Iterable[str] | Callable[..., Iterable[str]], signature: inspect.Signature | None
) -> tuple[TagMaker | None, bool]:
    """``maker(args, kwargs)`` for the decorator's ``tags=``, or ``None`` where there are none; and whether it
    needs nothing but the arguments, so that the tags of a load are known when it begins.

    Raises:
        ConfigurationError: a template names no parameter.
        TypeError: a tag is no str.
    """
    if callable(tags):
        made = function("tags", tags, makes_many=True)
        return (lambda args, kwargs: made(*args, **kwargs)), False
    templates = tuple(several("tags", tags, "a sequence of str, or a function of the arguments"))
    fields = [field for template in templates for field in _fields(templates, template)]
    if not templates:
        return None, True
    if not fields:
        fixed = tuple(template.format() for template in templates)
        return (lambda args, kwargs: fixed), True
    if signature is None:
        raise ConfigurationError(f"tags={templates!r}: the function has no signature to fill them from")
    for field in fields:
        if field not in signature.parameters:
            raise ConfigurationError(f"tags={templates!r}: {field!r} is no parameter of the function")
    known = signature

    def fill(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[str]:
        bound = known.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple(template.format(**bound.arguments) for template in templates)

    return fill, True


def _fields(templates: tuple[Any, ...], template: Any) -> Iterable[str]:
    """Names of the arguments that *template* is filled from."""
    if not isinstance(template, str):
        raise TypeError(f"tags={templates!r}: expected str, not {template!r}")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigurationError(f"tags={templates!r}: {error}") from None
    for _, field, _, _ in parts:
        if field is None:
            continue
        name = field.partition(".")[0].partition("[")[0]
        if not name.isidentifier():
            raise ConfigurationError(f"tags={templates!r}: expected the name of a parameter in {{}}")
        yield name
