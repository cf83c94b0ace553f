"""``python -m mcp_performance`` is the ``mcp-performance`` command."""

import sys

from .cli import main

sys.exit(main())
