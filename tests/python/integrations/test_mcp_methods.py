"""Functions of a class as tools, plainly cached: with FastMCP and with the MCP SDK."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import fastmcp
import pytest
from mcp.server.mcpserver import MCPServer

from mcp_performance import cached
from mcp_tools import call, schema, servers

Decorate = Callable[[Any], Any]


def add_tool(server: Any, function: Any) -> None:
    """Without the server's decorator."""
    if isinstance(server, MCPServer):
        server.add_tool(function, name="price")
    else:
        server.add_tool(fastmcp.tools.Tool.from_function(function, name="price"))


class Shop:
    """Every kind of function that a class can have; what *decorate* makes of it is counted in ``calls``."""

    def __init__(self, decorate: Decorate) -> None:
        calls = self.calls = list[str]()

        def price(self: Any, article: Annotated[str, "which"], count: int = 1) -> str:
            """What it costs."""
            calls.append(article)
            return f"{article}: {3 * count}"

        async def aprice(self: Any, article: Annotated[str, "which"], count: int = 1) -> str:
            """What it costs."""
            calls.append(article)
            return f"{article}: {3 * count}"

        def of_none(article: Annotated[str, "which"], count: int = 1) -> str:
            """What it costs."""
            return price(None, article, count)

        def plainly(self: Any, article: Any, count: Any = 1) -> str:
            """What it costs."""
            return price(None, article, count)

        plainly.__annotations__ = {"article": str, "count": int, "return": str}
        self.kinds = type(
            "Kinds",
            (),
            {
                "method": decorate(price),
                "async_method": decorate(aprice),
                "typed_without_texts": decorate(plainly),
                "class_method": classmethod(decorate(price)),
                "async_class_method": classmethod(decorate(aprice)),
                "static_method": staticmethod(decorate(of_none)),
            },
        )()
        self.kinds.object = decorate(type("Priced", (), {"__call__": price})())
        self.kinds.async_object = decorate(type("Priced", (), {"__call__": aprice})())


def refuses(server: Any, kind: str) -> bool:
    """FastMCP takes a method apart, and since Python 3.13 a class method is none of ours."""
    return "class_method" in kind and sys.version_info >= (3, 13) and isinstance(server, fastmcp.FastMCP)


KINDS = [name for name in vars(type(Shop(lambda function: function).kinds)) if not name.startswith("_")]


@pytest.mark.parametrize("server", servers(), ids=["FastMCP", "MCP SDK"])
@pytest.mark.parametrize("kind", [*KINDS, "object", "async_object"])
@pytest.mark.parametrize("decorate", [cached, cached(ttl=60)], ids=["bare", "options"])
async def test_a_plainly_cached_function_of_a_class_is_a_tool_as_it_would_be_without(
    server: Any, kind: str, decorate: Decorate
) -> None:
    shop, plain = Shop(decorate), Shop(lambda function: function)
    tools, plain_tools = type(server)("tools"), type(server)("tools")
    if refuses(server, kind):
        with pytest.raises(AttributeError, match="give a function that calls it"):
            add_tool(tools, getattr(shop.kinds, kind))
        return
    add_tool(tools, getattr(shop.kinds, kind))
    # The SDK takes no plain object that can be called: one is to look like its method.
    is_object = kind.endswith("object")
    add_tool(plain_tools, getattr(plain.kinds, "method" if is_object else kind))
    shown, expected = await schema(tools), await schema(plain_tools)
    if is_object:
        for one in (shown, expected):
            for part in ("input_schema", "output_schema"):
                one[part].pop("title", None)
    assert shown == expected
    for _ in range(3):
        assert await call(tools, "price", article="lamp") == {"result": "lamp: 3"}
    assert await call(tools, "price", article="lamp", count=2) == {"result": "lamp: 6"}
    assert shop.calls == ["lamp", "lamp"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("server", servers(), ids=["FastMCP", "MCP SDK"])
async def test_the_decorator_of_a_server_takes_a_cached_method(server: Any, kind: str) -> None:
    is_refused = refuses(server, kind)
    server, shop = type(server)("tools"), Shop(cached)
    if is_refused:
        with pytest.raises(AttributeError, match="give a function that calls it"):
            server.tool(name="price")(getattr(shop.kinds, kind))
        return
    server.tool(name="price")(getattr(shop.kinds, kind))
    for _ in range(2):
        assert await call(server, "price", article="lamp") == {"result": "lamp: 3"}
    assert shop.calls == ["lamp"]
