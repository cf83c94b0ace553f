"""The analyzer beside its peers: fingerprints a second, and what its index advice gains.

    python benchmarks/query.py [--record]

Fingerprints: the same statements normalised by sqlparse and sqlglot, installed into an environment of their
own (.cache/bench-venv). Rounds are interleaved; the medians count. Advice: a generated shop of 200,000 orders
and twelve queries. The indexes that this package advises, and those of the SQLite shell's .expert (one query
at a time), are each made on a copy, and the same statements are run on it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import _peers

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("sqlparse==0.5.3", "sqlglot==26.12.0")
ROUNDS = 5
ORDERS = 200_000

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


def statements(count: int) -> list[str]:
    """Statements of six shapes with values of their own."""
    draw = random.Random(1)
    word = "abcdefghijklmnopqrstuvwxyz"
    return [
        draw.choice(SHAPES).format(n=draw.randint(1, 99_999), s="".join(draw.choices(word, k=12)))
        for _ in range(count)
    ]


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
    _peers.add(*PEERS)
    normalise = {"sqlparse": _sqlparse, "sqlglot": _sqlglot}[name]()
    corpus = json.loads(Path(file).read_text())
    start = time.perf_counter()
    for sql in corpus:
        normalise(sql)
    print(time.perf_counter() - start)


def fingerprints() -> list[str]:
    """The table of the first part."""
    from mcp_performance import _core

    corpus = statements(2_000)
    size = sum(len(sql.encode()) for sql in corpus)
    _peers.add(*PEERS)
    seconds: dict[str, list[float]] = {"this package": [], "sqlparse": [], "sqlglot": []}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "corpus.json"
        file.write_text(json.dumps(corpus))
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for sql in corpus:
                _core.fingerprint(sql)
            seconds["this package"].append(time.perf_counter() - start)
            for peer in ("sqlparse", "sqlglot"):
                command = [sys.executable, __file__, "--peer", peer, str(file)]
                found = subprocess.run(command, check=True, capture_output=True, text=True)
                seconds[peer].append(float(found.stdout))
    own = statistics.median(seconds["this package"])
    lines = ["| fingerprint of a statement | µs each | MB/s | ours is faster by |", "|---|---|---|---|"]
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        each, rate = middle / len(corpus) * 1e6, size / middle / 1e6
        lines.append(f"| {name} | {each:.1f} | {rate:.2f} | {middle / own:.0f} x |")
    hostile = "a in (" + "12345," * (10 << 20 >> 3) + "1)"
    start = time.perf_counter()
    _core.fingerprint(hostile)
    taken_s = time.perf_counter() - start
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
            for _ in range(ORDERS)
        ),
    )
    connection.executemany(
        "INSERT INTO items VALUES (?, ?, ?)",
        ((n // 2 + 1, draw.randint(1, 5_000), draw.randint(1, 9)) for n in range(2 * ORDERS)),
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


def weighted_seconds(path: Path) -> float:
    """One pass over the workload's reads with three values each, weighted."""
    connection = sqlite3.connect(path)
    total = 0.0
    for sql, weight in QUERIES.items():
        if sql.startswith("INSERT"):
            continue
        name = re.search(r"(\w+) = \?", sql)
        choices = [(value,) for value in VALUES[name[1]]] if name else [()]
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            for parameters in choices:
                connection.execute(sql, parameters).fetchall()
            taken.append((time.perf_counter() - start) / len(choices))
        total += weight * min(taken)
    connection.close()
    return total


def seconds_of_inserts(path: Path) -> float:
    """10,000 orders in one transaction."""
    connection = sqlite3.connect(path)
    draw = random.Random(4)
    rows = [(draw.randint(1, 20_000), "new", draw.random(), "2024-07-07") for _ in range(10_000)]
    start = time.perf_counter()
    connection.executemany("INSERT INTO orders (user_id, status, total, at) VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    taken = time.perf_counter() - start
    connection.close()
    return taken


def expert_indexes(path: Path) -> list[str]:
    """What the SQLite shell's .expert proposes, query by query."""
    found: dict[str, None] = {}
    for sql in QUERIES:
        script = f".expert\n{sql};\n"
        shell = subprocess.run(
            ["sqlite3", str(path)], input=script, capture_output=True, text=True, check=False
        )
        for line in shell.stdout.splitlines():
            if line.startswith("CREATE INDEX"):
                found[line.rstrip(";")] = None
    return list(found)


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
        for name, ddl in plans.items():
            copy = Path(directory) / "copy.db"
            shutil.copy(original, copy)
            connection = sqlite3.connect(copy)
            for statement in ddl:
                connection.execute(statement)
            connection.commit()
            connection.close()
            size, reads, inserts = copy.stat().st_size, weighted_seconds(copy), seconds_of_inserts(copy)
            if name == "no index":
                none, bytes_before, inserts_before = reads, size, inserts
            lines.append(
                f"| {name} | {len(ddl)} | {reads:.4f} | {none / reads:.0f} x"
                f" | +{(size / bytes_before - 1) * 100:.0f} % | {inserts / inserts_before:.1f} x |"
            )
        verified = sum(index.verified for index in advised)
        lines.append(
            f"\nAdvice took {spent:.1f} s; {verified} of {len(advised)} indexes were tried on a copy."
        )
        return lines


def main() -> None:
    """Print both tables; with --record also into RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the tables to benchmarks/RESULTS.md")
    parser.add_argument("--peer", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(*options.peer)
        return
    table = "\n".join([*fingerprints(), "", *advice()])
    print(table)
    if options.record:
        sys.path.insert(0, str(ROOT / "benchmarks"))
        from _native import machine, record

        record(
            "query",
            f"## query\n\n{machine()}; SQLite {sqlite3.sqlite_version}; {', '.join(PEERS)}\n\n{table}",
        )


if __name__ == "__main__":
    main()
