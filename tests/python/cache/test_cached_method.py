"""Cached functions as methods, and cached_method."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest

from mcp_performance import Cache, CacheInfo, cached, cached_method


def test_a_cached_function_is_a_method_too() -> None:
    class Shop:
        @cached
        def price(self, item: str) -> str:
            return item.upper()

        @staticmethod
        @cached
        def tax(x: int) -> int:
            return x

        @classmethod
        @cached
        def kind(cls, x: int) -> str:
            return cls.__name__

    shop = Shop()
    assert shop.price("a") == Shop.price(shop, "a") == "A"
    assert Shop.price.cache_info().hits == 1
    assert [shop.tax(1), Shop.tax(1), Shop.kind(1), shop.kind(1)] == [1, 1, "Shop", "Shop"]
    assert Shop.tax.cache_info().hits == 1


def test_cached_method_keeps_one_cache_per_instance() -> None:
    calls = []

    class Shop:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, name: str) -> None:
            self.name = name

        @cached_method(maxsize=2)
        def price(self, item: str, *, factor: int = 1) -> str:
            calls.append(item)
            return self.name + item * factor

    one, other = Shop("one:"), Shop("other:")
    assert one.price("a") == one.price(item="a", factor=1) == "one:a"
    assert other.price("a") == "other:a"
    assert calls == ["a", "a"]
    assert one.price.cache_info() == CacheInfo(1, 1, 2, 1)
    assert one.price.cache_invalidate("a")
    assert other.price.cache_contains("a")
    assert one.price.__name__ == "price"
    assert one.price.__wrapped__ is Shop.price.__wrapped__


def test_cached_method_dies_with_its_instance() -> None:
    class Shop:
        @cached_method
        def me(self) -> Any:
            return self

        @cached_method
        def number(self) -> int:
            return 1

    shop = Shop()
    shop.number()
    reference = weakref.ref(shop)
    gc.disable()
    try:
        del shop
        assert reference() is None  # at once: no cycle
    finally:
        gc.enable()
    shop = Shop()
    assert shop.me() is shop
    reference = weakref.ref(shop)
    del shop
    gc.collect()
    assert reference() is None  # a result that holds its instance is a cycle, and collected


def test_cached_method_outlives_the_name_of_its_instance() -> None:
    class Shop:
        @cached_method
        def me(self, x: int) -> int:
            return x

    bound = Shop().me
    assert [bound(1), bound(1)] == [1, 1]
    assert bound.cache_info().hits == 1


def test_a_copied_instance_has_a_cache_of_its_own() -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        @cached_method
        def price(self, item: str) -> str:
            return self.name + item

    one = Shop("one:")
    one.price("a")
    for clone in (copy.copy(one), copy.deepcopy(one)):
        clone.name = "clone:"
        assert clone.price("a") == "clone:a"
        assert one.price("a") == "one:a"


def test_cached_method_refuses_what_it_cannot_do() -> None:
    with pytest.raises(TypeError, match="cache="):
        cached_method(cache=Cache())
    with pytest.raises(TypeError, match="as_function="):
        cached_method(as_function=True)
    with pytest.raises(TypeError, match="no self"):

        @cached_method
        def f() -> None: ...

    class Slotted:
        __slots__ = ()

        @cached_method
        def f(self) -> int:
            return 1

    with pytest.raises(TypeError, match="Slotted"):
        Slotted().f()


def test_with_copy_a_method_hands_out_nothing_that_is_kept() -> None:
    class Shelf:
        @cached_method(copy=list)
        def books(self, of: str) -> list[str]:
            return [of]

    shelf = Shelf()
    for call in (shelf.books, lambda of: Shelf.books(shelf, of)):
        for _ in range(3):
            got = call("a")
            assert got == ["a"]
            got.append("b")
