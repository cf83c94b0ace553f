"""The same objects as :mod:`mcp_performance`, for services written against the older name."""

from mcp_performance import *  # noqa: F403
from mcp_performance import __all__ as __all__
from mcp_performance import __version__ as __version__
