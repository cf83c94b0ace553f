"""Tags of a cached call: fixed strings, templates filled from the arguments, or a callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from .._base._checks import function, texts
from .._base._templates import check_template

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
    templates = tuple(texts("tags", tags))
    are_filled = [check_template("tags", template, signature, templates) for template in templates]
    if not templates:
        return None, True
    if signature is None or not any(are_filled):
        fixed = tuple(template.format() for template in templates)
        return (lambda args, kwargs: fixed), True
    known = signature

    def fill(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[str]:
        bound = known.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple(template.format(**bound.arguments) for template in templates)

    return fill, True
