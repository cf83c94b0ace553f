"""Caches in a process that has reached a limit, and in an interpreter that is not the main one."""

from __future__ import annotations

from cache_support import run_python


def test_out_of_memory_is_an_error_that_a_cache_survives() -> None:
    script = """
import resource
from mcp_performance import Cache, cached
cache = Cache(None)
function = cached(None)(lambda x: x)
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
for fill in (cache.__setitem__, lambda key, value: function(key)):
    resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20), resource.RLIM_INFINITY))
    n = 0
    try:
        while True:
            fill(n, None)
            n += 1
    except MemoryError:
        pass
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert n > 1000
    cache._check_invariants()
    assert (len(cache) or function.cache_info().currsize) - n in (0, 1)
    cache.clear()
    function.cache_clear()
for i in range(1000):
    cache[i] = i
    assert function(i) == i
assert len(cache) == 1000 and function.cache_info().currsize == 1000
cache._check_invariants()
print("recovered")
"""
    assert run_python(script) == "recovered\n"


def test_without_a_thread_for_the_housekeeper_caches_work_and_ask_again() -> None:
    # A stack larger than any address space fails as reaching RLIMIT_NPROC does, and for root as well.
    script = """
import threading
from mcp_performance import Cache
from mcp_performance.cache import _housekeeping
threading.stack_size(1 << 46)
cache = Cache(ttl=60)
cache["a"] = 1
assert cache["a"] == 1 and not _housekeeping._keeper.alive
threading.stack_size(0)
_housekeeping._keeper._retry_at = 0.0
cache["b"] = 2
assert _housekeeping._keeper.alive
assert _housekeeping._keeper._new or _housekeeping._keeper._caches
print("recovered")
"""
    assert run_python(script) == "recovered\n"


def test_without_file_descriptors_caches_work() -> None:
    script = """
import resource
from mcp_performance import Cache, cached
function = cached(ttl=60)(lambda x: x)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
cache = Cache(ttl=60)
cache["a"] = 1
assert cache["a"] == function(1) == function(1) == 1
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print("fine")
"""
    assert run_python(script) == "fine\n"


def test_a_subinterpreter_gets_an_import_error() -> None:
    script = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import mcp_performance
interpreter = interpreters.create()
interpreters.run_string(interpreter, '''
try:
    import mcp_performance
except ImportError as error:
    print("ImportError:", "interpreter" in str(error), flush=True)
''')
interpreters.destroy(interpreter)
mcp_performance.Cache()._check_invariants()
"""
    assert run_python(script) == "ImportError: True\n"


def test_ctrl_c_ends_a_process_with_busy_threads_as_it_ends_any() -> None:
    script = """
import signal, subprocess, sys
program = '''
import os, signal, threading
from mcp_performance import Cache, cached
never = threading.Event()
@cached
def stuck(x):
    never.wait()
cache = Cache(ttl=60)
cache["a"] = 1
for x in (1, 1, 2):
    threading.Thread(target=stuck, args=(x,), daemon=True).start()
while stuck.cache_info().misses < 3:
    pass
os.kill(os.getpid(), signal.SIGINT)
never.wait()
'''
done = subprocess.run([sys.executable, "-c", program], capture_output=True)
assert b"KeyboardInterrupt" in done.stderr, done.stderr
print(done.returncode == -signal.SIGINT)
"""
    assert run_python(script) == "True\n"
