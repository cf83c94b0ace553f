"""The analyzer beside its peers: fingerprints a second, and what its index advice gains.

    python benchmarks/query.py [--record] [--quick]

Fingerprints: the same statements normalised by sqlparse and sqlglot, installed into an environment of their
own (.cache/bench-venv). Rounds are interleaved; the medians count. Advice: a generated shop of 200,000
orders and twelve queries, a decision-support database of eight tables, and one whose foreign keys are skewed
(_decision_support.py). The indexes that this package advises, and those of the SQLite shell's
.expert (one query at a time), are each made on a copy, and the same statements are run on it.

Every normal form is checked: statements of one shape have the same, of two shapes have two. Every query
returns on each copy the rows that it returns without an index. --quick: one small round of what is installed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _decision_support
import _peers
from _check import same, within, wrong
from _decision_support import SKEWED_QUERIES

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("sqlparse==0.5.3", "sqlglot==26.12.0")
ROUNDS = 5


class Size:
    """How much is done: less in a quick run."""

    statements = 2_000
    rounds = ROUNDS
    orders = 200_000
    scale = 0.05
    events = 300_000
    budget = 120.0


SHAPES = (
    "SELECT id, name, email FROM users WHERE id = {n}",
    "select u.id, o.total from users u join orders o on o.user_id = u.id where u.email = '{s}'"
    " and o.total > {n}.5",
    "INSERT INTO orders (user_id, total, status, at) VALUES ({n}, {n}.25, 'paid', '{s}')",
    "UPDATE users SET name = '{s}', age = age + {n} WHERE id IN ({n}, {n}, {n}, {n}, {n})",
    "SELECT count(*), avg(total) FROM orders WHERE status = '{s}' GROUP BY user_id HAVING count(*) > {n}"
    " ORDER BY 2 DESC LIMIT 20",
    "DELETE FROM sessions WHERE token = '{s}' AND seen < {n}",
)


def statements(count: int) -> list[tuple[str, int]]:
    """Statements of six shapes with values of their own, and which shape each has."""
    draw = random.Random(1)
    word = "abcdefghijklmnopqrstuvwxyz"
    found = []
    for _ in range(count):
        shape = draw.choice(SHAPES)
        values = {"n": draw.randint(1, 99_999), "s": "".join(draw.choices(word, k=12))}
        found.append((shape.format(**values), SHAPES.index(shape)))
    return found


def check_forms(what: str, forms: Sequence[object], shapes: Sequence[int]) -> None:
    """Statements have one normal form exactly where they have one shape."""
    form_of: dict[int, object] = {}
    for number, (form, shape) in enumerate(zip(forms, shapes, strict=True)):
        same(f"{what}, normal form of statement {number}", form, form_of.setdefault(shape, form))
    distinct = len({repr(form) for form in form_of.values()})
    within(f"{what}, normal forms", distinct, len(form_of), len(form_of))


# --- peers: run by the interpreter of their own environment ---


def _sqlparse() -> Callable[[str], str]:
    import sqlparse  # type: ignore[import-not-found]
    from sqlparse import tokens  # type: ignore[import-not-found]

    def normalise(sql: str) -> str:
        parts = []
        for token in sqlparse.parse(sql)[0].flatten():
            if token.ttype in tokens.Literal:
                parts.append("?")
            elif token.is_whitespace:
                parts.append(" ")
            else:
                parts.append(token.normalized)
        return "".join(parts)

    return normalise


def _sqlglot() -> Callable[[str], str]:
    import sqlglot  # type: ignore[import-not-found]
    from sqlglot import expressions  # type: ignore[import-not-found]

    def normalise(sql: str) -> str:
        tree = sqlglot.parse_one(sql, read="sqlite")
        for literal in list(tree.find_all(expressions.Literal)):
            literal.replace(expressions.Placeholder())
        return str(tree.sql(dialect="sqlite"))

    return normalise


def run_peer(name: str, file: str) -> None:
    """Print the seconds that one peer takes over the statements in *file*."""
    _peers.add(*PEERS, install=False)
    normalise = {"sqlparse": _sqlparse, "sqlglot": _sqlglot}[name]()
    corpus, shapes = json.loads(Path(file).read_text())
    start = time.perf_counter()
    forms = [normalise(sql) for sql in corpus]
    taken = time.perf_counter() - start
    check_forms(name, forms, shapes)
    print(taken)


def fingerprints(quick: bool) -> list[str]:
    """The table of the first part."""
    from mcp_performance import _core

    texts = statements(Size.statements)
    corpus, shapes = [sql for sql, _ in texts], [shape for _, shape in texts]
    size = sum(len(sql.encode()) for sql in corpus)
    _peers.add(*PEERS, install=not quick)
    peers = [peer for peer in ("sqlparse", "sqlglot") if _peers.has(peer)]
    seconds: dict[str, list[float]] = {name: [] for name in ("this package", *peers)}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "corpus.json"
        file.write_text(json.dumps([corpus, shapes]))
        for _ in range(Size.rounds):
            start = time.perf_counter()
            forms = [_core.fingerprint(sql) for sql in corpus]
            seconds["this package"].append(time.perf_counter() - start)
            check_forms("this package", forms, shapes)
            for peer in peers:
                command = [sys.executable, __file__, "--peer", peer, str(file)]
                found = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                if found.returncode:
                    raise SystemExit(f"{peer} ended with status {found.returncode}: see above")
                seconds[peer].append(float(found.stdout))
    own = statistics.median(seconds["this package"])
    lines = ["| fingerprint of a statement | µs each | MB/s | ours is faster by |", "|---|---|---|---|"]
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        each, rate = middle / len(corpus) * 1e6, size / middle / 1e6
        lines.append(f"| {name} | {each:.1f} | {rate:.2f} | {middle / own:.0f} x |")
    hostile = "a in (" + "12345," * (10 << 20 >> 3) + "1)"
    start = time.perf_counter()
    form = _core.fingerprint(hostile)
    taken_s = time.perf_counter() - start
    same("normal form of a long list", form, _core.fingerprint("a in (1)"))
    lines.append(f"\nOne text of {len(hostile) / 1e6:.0f} MB: {len(hostile) / taken_s / 1e6:.0f} MB/s.")
    return lines


# --- advice ---

QUERIES = {
    "SELECT * FROM orders WHERE user_id = ? ORDER BY at DESC LIMIT 20": 40,
    "SELECT count(*), sum(total) FROM orders WHERE status = ? AND at > '2024-06-01'": 10,
    "SELECT u.name, o.total FROM users u JOIN orders o ON o.user_id = u.id WHERE u.email = ?": 20,
    "SELECT city, count(*) FROM users GROUP BY city": 2,
    "SELECT product_id, sum(quantity) FROM items WHERE order_id = ? GROUP BY product_id": 30,
    "SELECT o.id FROM orders o JOIN items i ON i.order_id = o.id WHERE i.product_id = ?": 10,
    "SELECT id, total FROM orders WHERE total > 990 ORDER BY total DESC LIMIT 10": 5,
    "SELECT id FROM users WHERE city = ? AND age BETWEEN 30 AND 31": 10,
    "SELECT status, avg(total) FROM orders WHERE user_id = ? GROUP BY status": 10,
    "SELECT name FROM users WHERE name LIKE 'name 77%'": 5,
    "SELECT id FROM orders WHERE at = ? AND status = 'new'": 10,
    "INSERT INTO orders (user_id, status, total, at) VALUES (?, ?, ?, ?)": 50,
}


def build_shop(path: Path) -> None:
    """Users, orders and items, without an index."""
    draw = random.Random(2)
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, name TEXT, city TEXT, age INTEGER);"
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER, status TEXT, total REAL, at TEXT);"
        "CREATE TABLE items (order_id INTEGER, product_id INTEGER, quantity INTEGER);"
    )
    connection.executemany(
        "INSERT INTO users (email, name, city, age) VALUES (?, ?, ?, ?)",
        ((f"u{n}@example.org", f"name {n}", f"city {n % 200}", 18 + n % 60) for n in range(20_000)),
    )
    connection.executemany(
        "INSERT INTO orders (user_id, status, total, at) VALUES (?, ?, ?, ?)",
        (
            (
                draw.randint(1, 20_000),
                draw.choice(["new", "paid", "sent", "done"]),
                draw.random() * 1000,
                f"2024-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
            )
            for _ in range(Size.orders)
        ),
    )
    connection.executemany(
        "INSERT INTO items VALUES (?, ?, ?)",
        ((n // 2 + 1, draw.randint(1, 5_000), draw.randint(1, 9)) for n in range(2 * Size.orders)),
    )
    connection.commit()
    connection.close()


VALUES: dict[str, Sequence[object]] = {
    "user_id": (7, 4321, 19_000),
    "status": ("new", "paid", "done"),
    "email": ("u7@example.org", "u4321@example.org", "u19000@example.org"),
    "order_id": (7, 4321, 190_000),
    "product_id": (7, 432, 4_900),
    "city": ("city 7", "city 43", "city 190"),
    "at": ("2024-01-07", "2024-06-21", "2024-12-01"),
}


Answers = list[tuple[str, list[tuple[object, ...]]]]


def weighted_seconds(path: Path) -> tuple[float, Answers]:
    """One pass over the workload's reads with three values each, weighted; and what each returned."""
    connection = sqlite3.connect(path)
    total = 0.0
    answers: Answers = []
    for sql, weight in QUERIES.items():
        if sql.startswith("INSERT"):
            continue
        name = re.search(r"(\w+) = \?", sql)
        choices = [(value,) for value in VALUES[name[1]]] if name else [()]
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            found = [connection.execute(sql, parameters).fetchall() for parameters in choices]
            taken.append((time.perf_counter() - start) / len(choices))
            answers += [(sql, plain(sql, rows)) for rows in found]
        total += weight * min(taken)
    connection.close()
    return total, answers


ORDERED_BY = {"ORDER BY at DESC": 4, "ORDER BY total DESC": 1}


def plain(sql: str, rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """*rows* in an order of their own, sums rounded: SQLite chooses the order of equal rows and of terms."""
    for clause, column in ORDERED_BY.items():
        values: list[Any] = [row[column] for row in rows] if clause in sql else []
        if values != sorted(values, reverse=True):
            wrong(sql, "the rows are not in order")
    rounded = [tuple(float(f"{one:.9g}") if isinstance(one, float) else one for one in row) for row in rows]
    return sorted(rounded, key=repr)


def seconds_of_inserts(path: Path) -> float:
    """10,000 orders in one transaction."""
    connection = sqlite3.connect(path)
    draw = random.Random(4)
    rows = [(draw.randint(1, 20_000), "new", draw.random(), "2024-07-07") for _ in range(10_000)]
    start = time.perf_counter()
    connection.executemany("INSERT INTO orders (user_id, status, total, at) VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    taken = time.perf_counter() - start
    last = "SELECT user_id, status, total, at FROM orders WHERE id > ? ORDER BY id"
    same("inserted orders", connection.execute(last, (Size.orders,)).fetchall(), rows)
    same("integrity", connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    connection.close()
    return taken


def expert_indexes(path: Path, queries: Iterable[str] = QUERIES) -> list[str]:
    """What the SQLite shell's .expert proposes, query by query."""
    found: dict[str, None] = {}
    for sql in queries:
        script = f".expert\n{sql};\n"
        shell = subprocess.run(
            ["sqlite3", str(path)], input=script, capture_output=True, text=True, check=False
        )
        for line in shell.stdout.splitlines():
            if line.startswith("CREATE INDEX"):
                found[line.rstrip(";")] = None
    return list(found)


def without_shell() -> list[str]:
    """Says that the rows of .expert are missing, where they are."""
    return [] if shutil.which("sqlite3") else ["", ".expert was not run: the sqlite3 shell is not installed."]


def advice() -> list[str]:
    """The table of the second part."""
    from mcp_performance import QueryAnalyzer

    with tempfile.TemporaryDirectory() as directory:
        original = Path(directory) / "shop.db"
        build_shop(original)
        start = time.perf_counter()
        advised = QueryAnalyzer(original).advise(list(QUERIES.items()))
        spent = time.perf_counter() - start
        plans = {"no index": [], "this package": [index.ddl for index in advised]}
        if shutil.which("sqlite3"):
            plans[".expert, one query at a time"] = expert_indexes(original)
        lines = [
            "| indexes of | indexes | reads, weighted s | faster by | file | 10,000 inserts |",
            "|---|---|---|---|---|---|",
        ]
        none = bytes_before = inserts_before = 0.0
        expected: Answers = []
        for name, ddl in plans.items():
            copy = Path(directory) / "copy.db"
            shutil.copy(original, copy)
            connection = sqlite3.connect(copy)
            for statement in ddl:
                connection.execute(statement)
            connection.commit()
            connection.close()
            size, (reads, answers) = copy.stat().st_size, weighted_seconds(copy)
            inserts = seconds_of_inserts(copy)
            if name == "no index":
                expected = answers
                within("rows that the queries return", sum(len(rows) for _, rows in answers), 100, math.inf)
                none, bytes_before, inserts_before = reads, size, inserts
            for (sql, got), (_, want) in zip(answers, expected, strict=True):
                same(f"indexes of {name}, {sql}", got, want)
            lines.append(
                f"| {name} | {len(ddl)} | {reads:.4f} | {none / reads:.0f} x"
                f" | +{(size / bytes_before - 1) * 100:.0f} % | {inserts / inserts_before:.1f} x |"
            )
        verified = sum(index.verified for index in advised)
        lines += without_shell()
        lines.append(
            f"\nAdvice took {spent:.1f} s; {verified} of {len(advised)} indexes were tried on a copy."
        )
        return lines


def rows_of(path: Path, queries: Mapping[str, str]) -> tuple[float, dict[str, list[str]]]:
    """Processor seconds of one pass, each query the better of two, and its rows: rounded, in any order."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = -200000")
    total, answers = 0.0, {}
    for name, sql in queries.items():
        taken = []
        for _ in range(2):
            connection.execute("BEGIN")
            start = time.process_time()
            rows = connection.execute(sql).fetchall()
            taken.append(time.process_time() - start)
            connection.execute("ROLLBACK")
        total += min(taken)
        answers[name] = sorted(
            repr(tuple(float(f"{one:.6g}") if isinstance(one, float) else one for one in row)) for row in rows
        )
    connection.close()
    return total, answers


def decisions(title: str, build: Callable[[Path], None], queries: Mapping[str, str]) -> list[str]:
    """The table of one database of the third part."""
    from mcp_performance import QueryAnalyzer

    with tempfile.TemporaryDirectory() as directory:
        original = Path(directory) / "original.db"
        build(original)
        start = time.perf_counter()
        advised = QueryAnalyzer(original).advise(list(queries.values()), budget=Size.budget)
        spent = time.perf_counter() - start
        ours = [index.ddl for index in advised]
        plans = {"no index": [], "this package": ours, "this package, ANALYZE": [*ours, "ANALYZE"]}
        if shutil.which("sqlite3"):
            found = expert_indexes(original, queries.values())
            plans |= {".expert": found, ".expert, ANALYZE": [*found, "ANALYZE"]}
        lines = [f"| {title} | indexes | one pass, s | file |", "|---|---|---|---|"]
        before, expected = 0, {}
        for name, statements in plans.items():
            copy = Path(directory) / "copy.db"
            shutil.copy(original, copy)
            connection = sqlite3.connect(copy)
            for statement in statements:
                connection.execute(statement)
            connection.commit()
            connection.close()
            size, (seconds, answers) = copy.stat().st_size, rows_of(copy, queries)
            if not statements:
                before, expected = size, answers
            for query, rows in answers.items():
                same(f"{title}: {query} with the indexes of {name}", rows, expected[query])
            indexes = sum(statement != "ANALYZE" for statement in statements)
            lines.append(f"| {name} | {indexes} | {seconds:.3f} | +{(size / before - 1) * 100:.0f} % |")
        wanted = "advised" if advised.statistics else "not advised"
        return [*lines, *without_shell(), "", f"Advice took {spent:.1f} s; ANALYZE was {wanted}.", ""]


def main() -> None:
    """Print both tables; with --record also into RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the tables to benchmarks/RESULTS.md")
    parser.add_argument("--peer", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one small round of what is installed")
    options = parser.parse_args()
    if options.peer:
        run_peer(*options.peer)
        return
    if options.quick:
        Size.statements, Size.rounds, Size.orders = 100, 1, 20_000
        Size.scale, Size.events, Size.budget = 0.002, 20_000, 5.0
    skewed = decisions(
        "skewed foreign keys", lambda path: _decision_support.build_skewed(path, Size.events), SKEWED_QUERIES
    )
    support = decisions(
        "decision support", lambda path: _decision_support.build(path, Size.scale), _decision_support.QUERIES
    )
    table = "\n".join([*fingerprints(options.quick), "", *advice(), "", *support, *skewed])
    print(table)
    if options.record and not options.quick:
        sys.path.insert(0, str(ROOT / "benchmarks"))
        from _native import machine, record

        record(
            "query",
            f"## query\n\n{machine()}; SQLite {sqlite3.sqlite_version}; {', '.join(PEERS)}\n\n{table}",
        )


if __name__ == "__main__":
    main()
