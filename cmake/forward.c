// forward.c: a library that has nothing of its own, and leads to those that it needs.
typedef int mcp_nothing;
