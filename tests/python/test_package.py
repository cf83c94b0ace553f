"""What an importer relies on: names, aliases, settings, and a process that ends."""

import importlib
import inspect
import logging
import os
import pkgutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mcp_performance
import mcp_performance_v2
from mcp_performance import _core, errors
from mcp_performance._base import _logging

PACKAGE = Path(mcp_performance.__file__).parent
OF_OTHERS = {"aiosqlite", "async_lru"}  # have the names of the packages that they stand for


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_every_public_name_exists_and_every_module_is_exposed() -> None:
    missing = [name for name in mcp_performance.__all__ if not hasattr(mcp_performance, name)]
    assert missing == []
    for module in pkgutil.iter_modules([str(PACKAGE)]):
        # Importing Locust makes gevent patch the interpreter: test_locust.py does it in processes.
        if module.name.startswith("_") or module.name in {"cli", "config", "demo", "locust", *OF_OTHERS}:
            continue
        names = importlib.import_module(f"mcp_performance.{module.name}").__all__
        assert set(names) <= set(mcp_performance.__all__), module.name


def test_the_older_name_gives_the_same_objects() -> None:
    assert mcp_performance_v2.__all__ == mcp_performance.__all__
    for name in mcp_performance.__all__:
        assert getattr(mcp_performance_v2, name) is getattr(mcp_performance, name)


def test_every_public_name_and_what_it_has_says_what_it_is() -> None:
    silent = []
    for name in mcp_performance.__all__:
        public = getattr(mcp_performance, name)
        if not isinstance(public, str) and not inspect.getdoc(public):
            silent.append(name)
        for member, value in vars(public).items() if inspect.isclass(public) else ():
            documented = isinstance(value, property | classmethod | staticmethod) or callable(value)
            if documented and not member.startswith("_") and not inspect.getdoc(getattr(public, member)):
                silent.append(f"{name}.{member}")
    assert silent == []


def test_every_error_is_caught_by_the_root_and_by_its_standard_class() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.Error)
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.QueryError, sqlite3.OperationalError)
    assert issubclass(errors.IntegrityError, sqlite3.IntegrityError)
    assert issubclass(errors.DatabaseCorrupt, sqlite3.DatabaseError)
    assert issubclass(errors.PoolTimeout, TimeoutError)


def test_a_setting_comes_from_its_environment_variable() -> None:
    run = run_python(
        "import mcp_performance.config as c; print(c.CACHE_TTL, c.DB_WAL_MODE, c.DB_POOL_SIZE)",
        MCP_PERFORMANCE_CACHE_TTL="12.5",
        MCP_PERFORMANCE_DB_WAL_MODE="off",
    )
    assert run.stdout.split() == ["12.5", "False", "5"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CACHE_TTL", "-1"),
        ("CACHE_TTL", "nan"),
        ("CACHE_TTL", "soon"),
        ("DB_POOL_SIZE", "0"),
        ("DB_POOL_SIZE", "2.5"),
        # As far as the options go of which they are the defaults.
        ("DB_POOL_SIZE", "1001"),
        ("CACHE_TTL", "1e10"),
        ("IDEMPOTENCY_TTL", "1e12"),
        ("QUERY_CACHE_TTL", "1e300"),
        ("SLOW_QUERY_THRESHOLD", "inf"),
        ("DB_WAL_MODE", "perhaps"),
        ("HIGH_CPU_THRESHOLD", "101"),
        ("LOW_CACHE_HIT_THRESHOLD", "80"),
    ],
)
def test_a_bad_setting_is_an_error_that_names_it_and_its_value(name: str, value: str) -> None:
    run = run_python("import mcp_performance", **{f"MCP_PERFORMANCE_{name}": value})
    assert run.returncode != 0
    assert f"ConfigurationError: MCP_PERFORMANCE_{name}={value!r}: expected" in run.stderr


def test_asyncio_is_whole_when_the_package_comes_first() -> None:
    run = run_python(
        "import mcp_performance, asyncio\n"
        "async def main(): print(asyncio.current_task() in asyncio.all_tasks())\n"
        "asyncio.run(main())"
    )
    assert run.stdout == "True\n", run.stderr


def test_importing_starts_no_thread_and_opens_no_file() -> None:
    run = run_python(
        "import os; before = set(os.listdir('/proc/self/fd'));"
        "import mcp_performance;"
        "print(len(os.listdir('/proc/self/task')), len(set(os.listdir('/proc/self/fd')) - before))"
    )
    assert run.stdout.split() == ["1", "0"], run.stderr
    assert run.stderr == ""


def test_the_copy_of_sqlite_is_chosen_before_the_core_is_loaded() -> None:
    run = run_python(
        "import sys, mcp_performance; names = list(sys.modules); "
        "print(names.index('mcp_performance._base._sqlite_library') < names.index('mcp_performance._core'))"
    )
    assert run.stdout == "True\n", run.stderr


def test_native_log_records_reach_logging() -> None:
    arrived = threading.Event()

    class Signal(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "mcp_performance.sqlite" and record.getMessage() == "the writer waits":
                arrived.set()

    handler = Signal()
    logger = logging.getLogger("mcp_performance")
    logger.addHandler(handler)
    try:
        _logging.deliver_native_logs()
        _core._log("sqlite", logging.WARNING, "the writer waits")
        assert arrived.wait(30)
    finally:
        logger.removeHandler(handler)


def test_the_process_and_a_forked_child_end_with_the_log_thread_running() -> None:
    run = run_python(
        "import os, sys\n"
        "from mcp_performance._base import _logging\n"
        "from mcp_performance import _core\n"
        "_logging.deliver_native_logs()\n"
        "child = os.fork()\n"
        "_logging.deliver_native_logs()\n"
        "_core._log('base', 30, 'here')\n"
        "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert run.returncode == 0, run.stderr


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "_core.pyi").is_file()


@pytest.mark.parametrize("enabled", [True, False])
def test_an_interpreter_whose_lock_is_kept_off_is_refused(enabled: bool) -> None:
    """PYTHON_GIL=0; a build without the lock turns it on for this package otherwise."""
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys._is_gil_enabled = lambda: {enabled}\n"
            "try:\n    import mcp_performance\nexcept ImportError as error:\n    print(error)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("PYTHON_GIL=0" in run.stdout) is not enabled
