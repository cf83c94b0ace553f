"""No finding on 200 statements that are well, and the right one on each of 100 that are not."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_performance import Issue, QueryAnalyzer

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT COLLATE NOCASE, city TEXT,
    age INTEGER, born TEXT, manager INTEGER REFERENCES users);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users, status TEXT NOT NULL,
    total REAL NOT NULL, at TEXT NOT NULL, note TEXT);
CREATE TABLE items (order_id INTEGER NOT NULL, line INTEGER NOT NULL, product_id INTEGER,
    quantity INTEGER NOT NULL, price REAL, PRIMARY KEY (order_id, line)) WITHOUT ROWID;
CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, title TEXT, kind TEXT, price REAL);
CREATE TABLE kinds (kind TEXT PRIMARY KEY, title TEXT);
CREATE TABLE logs (at TEXT, level TEXT, message TEXT, user TEXT);
CREATE INDEX users_city ON users(city, age);
CREATE INDEX users_name ON users(name);
CREATE INDEX orders_user ON orders(user_id, at);
CREATE INDEX orders_status ON orders(status, at);
CREATE INDEX items_product ON items(product_id);
CREATE INDEX products_kind ON products(kind, price);
CREATE VIEW open_orders AS SELECT id, user_id, total, at FROM orders WHERE status = 'open';
"""


@pytest.fixture(scope="module")
def analyzer(tmp_path_factory: pytest.TempPathFactory) -> QueryAnalyzer:
    path: Path = tmp_path_factory.mktemp("findings") / "shop.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.executemany(
        "INSERT INTO users (email, name, city, age, born, manager) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (f"u{n}@example.org", f"N{n}", f"c{n % 90}", n % 90, f"19{n % 90 + 10}-01-01", None)
            for n in range(4000)
        ),
    )
    connection.executemany(
        "INSERT INTO orders (user_id, status, total, at) VALUES (?, ?, ?, ?)",
        ((n % 4000 + 1, ("open", "paid", "sent")[n % 3], n, f"2024-{n % 12 + 1:02}-01") for n in range(9000)),
    )
    connection.executemany(
        "INSERT INTO items VALUES (?, ?, ?, 1, 2.0)", ((n // 2, n % 2, n % 700) for n in range(12_000))
    )
    connection.executemany(
        "INSERT INTO products (sku, title, kind, price) VALUES (?, ?, ?, ?)",
        ((f"s{n}", f"t{n}", f"k{n % 20}", n) for n in range(700)),
    )
    connection.executemany("INSERT INTO kinds VALUES (?, ?)", ((f"k{n}", f"K{n}") for n in range(20)))
    connection.executemany(
        "INSERT INTO logs VALUES (?, ?, ?, ?)", ((f"2024-{n}", "info", f"m{n}", f"{n}") for n in range(5000))
    )
    connection.execute("ANALYZE")
    connection.commit()
    connection.close()
    return QueryAnalyzer(path)


def healthy() -> Iterator[str]:
    """By key and index, ranges, joins along keys, aggregates of what an index holds, and writes by key."""
    lookups = (
        ("users", "id, name, age", ("id = ?", "id = 7", "id IN (1, 2, 3)", "rowid = 9", "email = ?")),
        ("users", "id, email", ("email IN (?, ?)", "city = ?", "city = 'c7' AND age > 30", "name = 'n5'")),
        (
            "users",
            "id, name",
            ("city = ? AND age BETWEEN ? AND ?", "name LIKE 'n5%'", "city IN ('c1', 'c2')"),
        ),
        (
            "orders",
            "id, total",
            ("id = ?", "user_id = ?", "user_id = ? AND at >= '2024-03-01'", "rowid IN (4, 5)"),
        ),
        (
            "orders",
            "id, total",
            ("status = 'open' AND at = ?", "status = ? AND at > ?", "user_id IN (?, ?, ?)"),
        ),
        ("items", "quantity", ("order_id = ? AND line = ?", "order_id = ?", "product_id = 5")),
        ("products", "id, title", ("sku = ?", "id = ?", "kind = ? AND price < ?", "kind = 'k1'")),
        ("kinds", "title", ("kind = ?", "title = 'K1'")),
        ("open_orders", "id, total", ("user_id = ?", "id = 4")),
    )
    for table, columns, conditions in lookups:
        for condition in conditions:
            by_key = condition.startswith(("id ", "rowid "))
            for tail in ("", " LIMIT 10", " LIMIT 5 OFFSET 5", " ORDER BY 1 LIMIT 1" if by_key else ""):
                yield f"SELECT {columns} FROM {table} WHERE {condition}{tail}"
            yield f"SELECT count(*) FROM {table} WHERE {condition}"
            yield f"SELECT 1 FROM {table} WHERE {condition}"
            yield f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {condition})"
    yield from (
        "SELECT id FROM orders WHERE user_id = ? ORDER BY at DESC LIMIT 20",
        "SELECT id FROM orders WHERE user_id = ? ORDER BY at",
        "SELECT id FROM orders WHERE status = 'open' ORDER BY at LIMIT 5",
        "SELECT id FROM orders WHERE user_id = ? AND at < ? ORDER BY at DESC LIMIT 20",
        "SELECT id, name FROM users WHERE id > ? ORDER BY id LIMIT 50",
        "SELECT max(id) FROM orders",
        "SELECT count(*) FROM orders",
        "SELECT count(*), avg(total) FROM orders",
        "SELECT city, count(*) FROM users GROUP BY city",
        "SELECT status, max(at) FROM orders GROUP BY status",
        "SELECT DISTINCT city FROM users WHERE city > 'c5'",
        "SELECT u.name, o.total FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id = ?",
        "SELECT u.name, o.total FROM users u JOIN orders o ON o.user_id = u.id WHERE u.email = ?",
        "SELECT i.quantity, p.title FROM items i JOIN products p ON p.id = i.product_id WHERE i.order_id = ?",
        "SELECT k.title FROM products p JOIN kinds k ON k.kind = p.kind WHERE p.id = ?",
        "SELECT o.id FROM orders o LEFT JOIN items i ON i.order_id = o.id WHERE o.user_id = ?",
        "SELECT name FROM users u WHERE id = ? AND EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id)",
        "SELECT name FROM users WHERE id IN (SELECT user_id FROM orders WHERE status = 'open' AND at = ?)",
        "SELECT name FROM users WHERE city = ? AND id NOT IN (SELECT user_id FROM orders WHERE status = ?)",
        "SELECT (SELECT count(*) FROM orders o WHERE o.user_id = u.id) FROM users u WHERE u.id = ?",
        "SELECT title FROM products WHERE kind = 'k1' OR sku = 's5'",
        "WITH mine AS (SELECT id, total FROM orders WHERE user_id = ?) SELECT sum(total) FROM mine",
        "SELECT id FROM users WHERE id = ? UNION ALL SELECT id FROM orders WHERE id = ?",
        "SELECT 1",
        "SELECT id FROM users LIMIT 1",
        "SELECT id FROM users WHERE city = ? LIMIT 10 OFFSET 20",
        "INSERT INTO users (email) VALUES (?)",
        "INSERT INTO logs VALUES (?, ?, ?, ?)",
        "INSERT OR REPLACE INTO kinds VALUES (?, ?)",
        "INSERT INTO kinds VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET title = excluded.title",
        "UPDATE users SET age = age + 1 WHERE id = ?",
        "UPDATE orders SET status = ? WHERE user_id = ? AND at = ?",
        "UPDATE items SET quantity = 2 WHERE order_id = ? AND line = ?",
        "DELETE FROM orders WHERE id = ?",
        "DELETE FROM items WHERE order_id = ?",
        "DELETE FROM users WHERE email = ?",
    )


HEALTHY = list(dict.fromkeys(healthy()))


def test_there_are_enough_of_them() -> None:
    assert len(HEALTHY) >= 200
    assert len(ILL) >= 100


@pytest.mark.parametrize("sql", HEALTHY)
def test_a_healthy_statement_has_no_finding(analyzer: QueryAnalyzer, sql: str) -> None:
    report = analyzer.analyze(sql)
    assert [issue for issue in report.issues if issue.severity != "info"] == []
    assert [
        issue for issue in report.issues if issue.code == "missing-index" and issue.table != "kinds"
    ] == []


def ill() -> Iterator[tuple[str, str]]:
    """A statement, and the finding that it must have."""
    for table in ("users", "orders", "products", "logs", "items"):
        yield (
            f"SELECT * FROM {table} WHERE rowid = 5" if table != "items" else f"SELECT * FROM {table}",
            "select-star",
        )
        yield f"SELECT t.* FROM {table} t", "select-star"
        yield f"DELETE FROM {table}", "missing-where"
    for column, table in (("age", "users"), ("total", "orders"), ("message", "logs"), ("title", "products")):
        yield f"UPDATE {table} SET {column} = 1", "missing-where"
        yield f"SELECT {column} FROM {table}", "missing-where"
        yield f"SELECT 1 FROM {table} WHERE {column} LIKE '%x'", "leading-wildcard-like"
        yield f"SELECT 1 FROM {table} WHERE {column} = ?", "full-scan"
        yield f"SELECT 1 FROM {table} WHERE {column} = ? ", "missing-index"
        yield f"SELECT {column} FROM {table} ORDER BY {column} DESC LIMIT 5", "temp-b-tree"
        yield f"SELECT 1 FROM {table} WHERE upper({column}) = ?", "function-on-column"
        yield f"SELECT 1 FROM {table} WHERE {column} || '' = ?", "function-on-column"
    yield from (
        ("SELECT id FROM users WHERE date(born) = '1980-01-01'", "function-on-column"),
        ("SELECT id FROM orders WHERE substr(at, 1, 4) = '2024'", "function-on-column"),
        ("SELECT id FROM orders WHERE strftime('%Y', at) = '2024'", "function-on-column"),
        ("SELECT id FROM users WHERE age + 1 > 30", "function-on-column"),
        ("SELECT id FROM orders WHERE coalesce(note, '') = ''", "function-on-column"),
        ("SELECT id FROM users WHERE CAST(age AS TEXT) = '7'", "function-on-column"),
        ("SELECT id FROM users WHERE city = 5", "implicit-cast"),
        ("SELECT id FROM users WHERE id = '5'", "implicit-cast"),
        ("SELECT id FROM orders WHERE status IN (1, 2)", "implicit-cast"),
        ("SELECT o.id FROM orders o JOIN logs l ON l.user = o.user_id WHERE o.id = 4", "implicit-cast"),
        ("SELECT id FROM users WHERE name = 'n5' COLLATE BINARY", "collation-mismatch"),
        ("SELECT id FROM users WHERE city COLLATE NOCASE = 'C7'", "collation-mismatch"),
        ("SELECT id FROM users WHERE city = 'C7' COLLATE NOCASE", "collation-mismatch"),
        ("SELECT u.id FROM logs l JOIN users u ON l.user = u.name", "collation-mismatch"),
        ("SELECT id FROM users WHERE id NOT IN (SELECT manager FROM users)", "not-in-null"),
        ("SELECT id FROM products WHERE id NOT IN (SELECT product_id FROM items)", "not-in-null"),
        (
            "SELECT id FROM products WHERE id NOT IN (SELECT DISTINCT i.product_id FROM items i)",
            "not-in-null",
        ),
        ("DELETE FROM products WHERE id NOT IN (SELECT product_id FROM items)", "not-in-null"),
        ("SELECT id FROM orders ORDER BY id LIMIT 20 OFFSET 100000", "offset-paging"),
        ("SELECT id FROM orders ORDER BY id LIMIT 100000, 20", "offset-paging"),
        ("SELECT id FROM orders WHERE status = 'open' ORDER BY at LIMIT 20 OFFSET 5000", "offset-paging"),
        ("SELECT id FROM orders ORDER BY id LIMIT ? OFFSET ?", "offset-paging"),
        ("SELECT id FROM users WHERE age = 7 OR born = 'x'", "or-on-columns"),
        ("SELECT id FROM users WHERE city = 'c7' OR age = 5", "or-on-columns"),
        ("SELECT message FROM logs WHERE level = ? OR user = ?", "or-on-columns"),
        ("SELECT o.id FROM orders o WHERE o.note = ? OR o.total = ?", "or-on-columns"),
        (
            "SELECT id FROM users u WHERE (SELECT count(*) FROM orders o WHERE o.user_id = u.id) > 0",
            "count-for-existence",
        ),
        (
            "SELECT id FROM users u WHERE (SELECT count(*) FROM orders o WHERE o.user_id = u.id) >= 1",
            "count-for-existence",
        ),
        (
            "SELECT id FROM users WHERE (SELECT count(*) FROM logs WHERE level = 'x') <> 0",
            "count-for-existence",
        ),
        ("SELECT DISTINCT u.id, u.name FROM users u JOIN orders o ON o.user_id = u.id", "distinct-fan-out"),
        ("SELECT DISTINCT p.id FROM products p, items i WHERE i.product_id = p.id", "distinct-fan-out"),
        (
            "SELECT DISTINCT o.id FROM orders o JOIN items i ON i.order_id = o.id WHERE o.user_id = 7",
            "distinct-fan-out",
        ),
        ("SELECT id, (SELECT max(at) FROM logs WHERE user = u.city) FROM users u", "correlated-subquery"),
        (
            "SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM logs WHERE user = u.city)",
            "correlated-subquery",
        ),
        (
            "SELECT id FROM users u WHERE age > (SELECT avg(total) FROM orders WHERE note = u.city)",
            "correlated-subquery",
        ),
        ("SELECT l.message FROM users u JOIN logs l ON l.user = u.city", "auto-index"),
        ("SELECT a.message FROM logs a JOIN logs b ON a.user = b.user", "auto-index"),
        ("SELECT level, count(*) FROM logs GROUP BY level", "temp-b-tree"),
        ("SELECT DISTINCT level FROM logs", "temp-b-tree"),
        ("SELECT id FROM orders WHERE user_id = 7 ORDER BY total", "temp-b-tree"),
        ("SELECT id FROM orders WHERE total > 100", "full-scan"),
        ("SELECT message FROM logs WHERE at BETWEEN ? AND ?", "missing-index"),
        ("DELETE FROM logs WHERE at < ?", "full-scan"),
        ("UPDATE logs SET level = 'x' WHERE user = ?", "missing-index"),
        ("SELECT i.line FROM items i WHERE i.price = 3", "full-scan"),
        ("SELECT id FROM open_orders WHERE total > 5 ORDER BY total", "temp-b-tree"),
        ("WITH x AS (SELECT message FROM logs WHERE level = 'x') SELECT count(*) FROM x", "missing-index"),
        (
            "SELECT id FROM users WHERE manager NOT IN (SELECT manager FROM users WHERE manager IS NULL)",
            "not-in-null",
        ),
        ("SELECT line FROM items WHERE quantity = 3 OR price = 4", "or-on-columns"),
        ("SELECT id FROM orders WHERE abs(total) BETWEEN 1 AND 2", "function-on-column"),
        ("SELECT id FROM products WHERE price = 'cheap'", "implicit-cast"),
        ("SELECT id FROM users WHERE email LIKE '%@example.org'", "leading-wildcard-like"),
        ("SELECT id FROM users WHERE city GLOB '*7'", "leading-wildcard-like"),
        ("SELECT id FROM users WHERE name LIKE '_x%'", "leading-wildcard-like"),
    )


ILL = list(itertools.islice(dict.fromkeys(ill()), None))


@pytest.mark.parametrize(("sql", "code"), ILL)
def test_an_ill_statement_has_the_finding(analyzer: QueryAnalyzer, sql: str, code: str) -> None:
    issues = {issue.code: issue for issue in analyzer.analyze(sql).issues}
    assert code in issues
    check(sql, issues[code])


def check(sql: str, issue: Issue) -> None:
    """It says why and what to do, in a place that is in the statement."""
    assert issue.message
    assert issue.suggestion
    assert issue.severity in {"info", "warning", "high"}
    if issue.offset is not None:
        assert 0 <= issue.offset < issue.offset + issue.length <= len(sql)


ROOT = Path(__file__).parents[3]


def test_users_are_told_of_every_code() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "cpp" / "query").glob("*.cpp"))
    report = (ROOT / "python" / "mcp_performance" / "query" / "_report.py").read_text()
    told = report[report.index("    code: str\n") : report.index("    severity: str\n")]
    assert set(re.findall(r"``([a-z-]+)``", told)) == set(re.findall(r'\.code = "([a-z-]+)"', sources))
