"""Texts with arguments of a function in braces: ``"user:{id}"``, as ``str.format`` fills them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from string import Formatter

from ..errors import ConfigurationError

__all__ = ["check_template"]


def check_template(
    option: str, template: str, signature: inspect.Signature | None, shown: object = None
) -> bool:
    """Whether *template* has fields; each names a parameter of *signature*.

    Args:
        option: what an error says is wrong.
        shown: the value that it shows; the template unless given.

    Raises:
        ConfigurationError: a template that cannot be filled.
    """
    where = f"{option}={(template if shown is None else shown)!r}"
    names = list(_names(where, template))
    if names and signature is None:
        raise ConfigurationError(f"{where}: the function has no signature to fill it from")
    for name in names:
        if signature is not None and name not in signature.parameters:
            raise ConfigurationError(f"{where}: {name!r} is no parameter of the function")
    return bool(names)


def _names(where: str, template: str) -> Iterable[str]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    for _, field, inner, _ in parts:
        if field is None:
            continue
        name = field.partition(".")[0].partition("[")[0]
        if not name.isidentifier():
            raise ConfigurationError(f"{where}: expected the name of a parameter in {{}}")
        yield name
        if inner:
            yield from _names(where, inner)
