"""One line for the frameworks that people already have: FastMCP and the MCP SDK, Flask, Django, SQLAlchemy,
OpenTelemetry.

Each module needs its framework, and says which extra of this package brings it. Nothing is imported before
the module is.
"""

__all__: list[str] = []
