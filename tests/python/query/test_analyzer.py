"""What the analyzer says of one statement."""

import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_performance import ConfigurationError, DatabaseCorrupt, QueryAnalyzer, QueryError, QueryReport

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT, city TEXT, age INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER, user_code TEXT, status TEXT, total REAL,
    at TEXT);
CREATE INDEX orders_by_status ON orders(status, at);
CREATE TABLE countries (code TEXT PRIMARY KEY, name TEXT);
CREATE TABLE empty (id INTEGER PRIMARY KEY, a TEXT);
CREATE VIEW adults AS SELECT * FROM users WHERE age >= 18;
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "shop.db"
    draw = random.Random(7)
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.executemany(
        "INSERT INTO users (email, name, city, age) VALUES (?, ?, ?, ?)",
        ((f"u{n}@example.org", f"name {n}", f"city {n % 50}", n % 90) for n in range(3000)),
    )
    connection.executemany(
        "INSERT INTO orders (user_id, user_code, status, total, at) VALUES (?, ?, ?, ?, ?)",
        (
            (
                draw.randint(1, 3000),
                str(n),
                draw.choice(["new", "paid", "sent"]),
                n / 7,
                f"2024-01-{n % 28 + 1:02}",
            )
            for n in range(5000)
        ),
    )
    connection.executemany(
        "INSERT INTO countries VALUES (?, ?)", ((f"c{n}", f"country {n}") for n in range(40))
    )
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def analyzer(database: Path) -> QueryAnalyzer:
    return QueryAnalyzer(database)


def codes(report: QueryReport) -> set[str]:
    return {issue.code for issue in report.issues}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM users WHERE id = 1", {"select-star"}),
        ("SELECT name FROM users WHERE id = 1", set()),
        ("SELECT name FROM users WHERE email = 'a'", set()),
        ("SELECT count(*) FROM users", set()),
        ("SELECT count(*), avg(age) FROM users", set()),
        ("SELECT name FROM users LIMIT 10", set()),
        ("SELECT EXISTS (SELECT * FROM users WHERE id = 1)", set()),
        ("SELECT name FROM users", {"missing-where", "full-scan"}),
        ("UPDATE users SET age = 1", {"missing-where", "full-scan"}),
        ("DELETE FROM users", {"missing-where"}),
        ("DELETE FROM users WHERE id = 1", set()),
        ("INSERT INTO users (email) VALUES ('a')", set()),
        ("SELECT name FROM users WHERE city = 'x'", {"full-scan", "missing-index"}),
        ("SELECT name FROM users WHERE name LIKE '%x'", {"leading-wildcard-like", "full-scan"}),
        ("SELECT name FROM users WHERE name LIKE '%' || ? || '%'", {"leading-wildcard-like", "full-scan"}),
        ("SELECT id FROM users WHERE email GLOB '*x'", {"leading-wildcard-like", "full-scan"}),
        ("SELECT name FROM users WHERE lower(email) = 'x'", {"function-on-column", "full-scan"}),
        ("SELECT name FROM users WHERE age + 1 > 50", {"function-on-column", "full-scan"}),
        ("SELECT id FROM orders WHERE date(at) = '2024-01-01'", {"function-on-column", "full-scan"}),
        ("SELECT id FROM orders WHERE status = 'new' ORDER BY at", set()),
        ("SELECT id FROM orders WHERE status = 'new' ORDER BY total", {"temp-b-tree", "missing-index"}),
        ("SELECT id FROM orders WHERE status = 5", {"implicit-cast"}),
        ("SELECT name FROM users WHERE id = '5'", {"implicit-cast"}),
        ("SELECT name FROM users WHERE email IN ('a', 'b')", set()),
        ("SELECT u.name FROM users u, orders o WHERE o.id = 5 AND u.id = o.user_code", {"implicit-cast"}),
        ("SELECT name FROM users WHERE id BETWEEN 5 AND 9", set()),
        ("SELECT name FROM adults WHERE id = 5", set()),
        ("WITH x AS (SELECT id FROM users WHERE id < 9) SELECT * FROM x", {"select-star"}),
    ],
)
def test_each_statement_has_the_issues_it_has_and_no_other(
    analyzer: QueryAnalyzer, sql: str, expected: set[str]
) -> None:
    found = codes(analyzer.analyze(sql))
    optional = {"missing-index"} if "full-scan" in expected else set()
    assert expected <= found <= expected | optional


def test_a_join_without_an_index_shows_the_one_that_sqlite_builds_each_time(analyzer: QueryAnalyzer) -> None:
    report = analyzer.analyze("SELECT u.name, o.total FROM users u JOIN orders o ON o.user_id = u.id + 0")
    assert "auto-index" in codes(report)
    assert [index.columns[0] for index in report.indexes] == ["user_id"]


def test_a_small_table_is_noted_as_small(analyzer: QueryAnalyzer) -> None:
    report = analyzer.analyze("SELECT name FROM countries WHERE name = 'x'")
    assert codes(report) == {"full-scan"}
    assert {issue.severity for issue in report.issues} == {"info"}
    assert "40 rows" in report.issues[0].message


def test_a_table_without_rows_says_nothing_about_its_size(analyzer: QueryAnalyzer) -> None:
    report = analyzer.analyze("SELECT id FROM empty WHERE a = 'x'")
    assert {(issue.code, issue.severity) for issue in report.issues} == {
        ("full-scan", "high"),
        ("missing-index", "high"),
    }


def test_an_issue_names_its_table_and_column_and_what_to_do(analyzer: QueryAnalyzer) -> None:
    (issue,) = [
        i
        for i in analyzer.analyze("SELECT id FROM users u WHERE upper(u.city) = 'X'").issues
        if i.code == "function-on-column"
    ]
    assert (issue.table, issue.column, issue.severity) == ("users", "city", "warning")
    assert "upper()" in issue.message
    assert issue.suggestion


def test_the_types_of_bound_values_count(analyzer: QueryAnalyzer) -> None:
    for sql, good, bad in (
        ("SELECT id FROM users WHERE email = ?", ("a",), (5,)),
        ("SELECT id FROM users WHERE email = :email", {"email": "a"}, {"email": 5}),
        ("SELECT id FROM users WHERE id = ?2 AND name = ?1", ("a", 5), ("a", "5")),
    ):
        assert "implicit-cast" not in codes(analyzer.analyze(sql))
        assert "implicit-cast" not in codes(analyzer.analyze(sql, good))
        assert "implicit-cast" in codes(analyzer.analyze(sql, bad))


def test_a_count_with_an_index_that_covers_it_is_no_full_scan(analyzer: QueryAnalyzer) -> None:
    report = analyzer.analyze("SELECT count(*) FROM orders")
    assert "COVERING INDEX" in str(report.plan[0])
    assert report.issues == ()


def test_the_fingerprint_is_shared_and_tells_no_value(analyzer: QueryAnalyzer) -> None:
    first = analyzer.analyze("select id from users where email in ('canary', 'b')")
    second = analyzer.analyze("SELECT id FROM users WHERE email IN (?) -- c")
    assert first.fingerprint == second.fingerprint == "SELECT id FROM users WHERE email IN (?)"
    assert first.hash == second.hash
    assert len(first.hash) == 16
    assert "canary" not in repr(first)


def test_the_plan_is_a_tree(analyzer: QueryAnalyzer) -> None:
    plan = analyzer.analyze("SELECT name FROM users WHERE id IN (SELECT user_id FROM orders)").plan
    assert [step.depth for step in plan] == [0, 0, 1]
    assert str(plan[2]).startswith("  SCAN orders")


def test_statements_that_are_no_queries_have_a_fingerprint_only(analyzer: QueryAnalyzer) -> None:
    for sql in ("PRAGMA journal_mode = DELETE", "CREATE TABLE t (a)", "BEGIN", "EXPLAIN SELECT 1"):
        report = analyzer.analyze(sql)
        assert report.fingerprint
        assert (report.plan, report.issues) == ((), ())


def test_functions_and_collations_of_the_application_are_stood_in_for(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    connection = sqlite3.connect(path)
    connection.create_function("rank_of", 1, lambda x: x, deterministic=True)
    connection.create_collation("by_rank", lambda a, b: (a > b) - (a < b))
    connection.execute("CREATE TABLE t (a TEXT COLLATE by_rank, b)")
    connection.execute("CREATE INDEX i ON t(rank_of(b))")
    connection.execute("CREATE VIEW v AS SELECT rank_of(a) AS r FROM t")
    connection.commit()
    connection.close()
    analyzer = QueryAnalyzer(path)
    assert "SCAN t" in str(analyzer.analyze("SELECT r FROM v WHERE r > 1 AND score(r)").plan[0])
    assert analyzer.advise(["SELECT b FROM t WHERE a = ? AND score(b)"])[0].verified is False


def test_an_index_on_the_expression_answers_the_function(tmp_path: Path) -> None:
    path = tmp_path / "expression.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a TEXT, b)")
    connection.execute("CREATE INDEX i ON t(lower(a))")
    connection.commit()
    connection.close()
    assert codes(QueryAnalyzer(path).analyze("SELECT b FROM t WHERE lower(a) = 'x'")) == set()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nowhere FROM users", "no such column: nowhere"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT 1 'canary' 'canary'", "syntax error near a value"),
        ("SELECT FROM users", "syntax error near FROM"),
        ("SELECT 'canary", "unrecognized token"),
    ],
)
def test_what_sqlite_refuses_is_a_query_error_without_values(
    analyzer: QueryAnalyzer, sql: str, message: str
) -> None:
    with pytest.raises(QueryError, match=message) as refused:
        analyzer.analyze(sql)
    assert "canary" not in str(refused.value)
    assert refused.value.code != 0


def test_a_missing_file_and_one_that_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="unable to open"):
        QueryAnalyzer(tmp_path / "missing.db").analyze("SELECT 1")
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "other").write_bytes(b"x" * 4096)
    with pytest.raises(DatabaseCorrupt):
        QueryAnalyzer(tmp_path / "other").analyze("SELECT 1")


@pytest.mark.parametrize("bad", [5, None, "", ":memory:", "a\0b"])
def test_it_wants_a_pool_or_a_file(bad: object) -> None:
    with pytest.raises(ConfigurationError if isinstance(bad, str) else TypeError, match="pool_or_path="):
        QueryAnalyzer(bad)  # type: ignore[arg-type]


def test_sql_that_is_no_text_is_a_type_error(analyzer: QueryAnalyzer) -> None:
    with pytest.raises(TypeError, match="sql="):
        analyzer.analyze(b"SELECT 1")  # type: ignore[arg-type]


def test_a_report_goes_into_json(analyzer: QueryAnalyzer) -> None:
    found = json.loads(json.dumps(analyzer.analyze("SELECT * FROM users WHERE city = 'x'").to_dict()))
    assert set(found) == {"fingerprint", "hash", "issues", "plan", "indexes", "rewrites"}
    assert found["indexes"][0]["verified"] is False


def test_names_in_other_scripts_and_broken_bytes_come_through(tmp_path: Path) -> None:
    path = tmp_path / "names.db"
    connection = sqlite3.connect(path)
    connection.execute('CREATE TABLE "größe ""x""" ("ä b" TEXT, "order" TEXT)')
    connection.commit()
    connection.close()
    report = QueryAnalyzer(path).analyze('SELECT "order" FROM "größe ""x""" WHERE "ä b" = 1')
    assert report.issues[-1].table == 'größe "x"'
    assert '"größe ""x"""("ä b"' in report.indexes[0].ddl


# --- rewrites ---


def rewrites(analyzer: QueryAnalyzer, sql: str) -> dict[str, str]:
    return {rewrite.rule: rewrite.sql for rewrite in analyzer.analyze(sql).rewrites}


@pytest.mark.parametrize(
    ("sql", "rule", "expected"),
    [
        (
            "SELECT id FROM users WHERE age = 1 OR age = 2 OR age = 3 ORDER BY id",
            "or-to-in",
            "SELECT id FROM users WHERE age IN (1, 2, 3) ORDER BY id",
        ),
        (
            "SELECT id FROM users u WHERE name = ? AND (u.city = ? OR u.city = ?)",
            "or-to-in",
            "SELECT id FROM users u WHERE name = ? AND (u.city IN (?, ?))",
        ),
        ("SELECT DISTINCT email, name FROM users", "redundant-distinct", "SELECT email, name FROM users"),
        ("SELECT DISTINCT id FROM users", "redundant-distinct", "SELECT id FROM users"),
        (
            "SELECT id FROM users u WHERE (SELECT count(*) FROM orders o WHERE o.user_id = u.id) > 0",
            "count-to-exists",
            "SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id)",
        ),
    ],
)
def test_a_proved_rewrite_is_offered(analyzer: QueryAnalyzer, sql: str, rule: str, expected: str) -> None:
    assert rewrites(analyzer, sql) == {rule: expected}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM users WHERE age = 1 OR city = 'x'",
        "SELECT id FROM users WHERE age = 1 OR age = 2 AND city = 'x'",
        "SELECT id FROM users WHERE city = 'x' AND age = 1 OR age = 2",
        "SELECT id FROM users WHERE name = 'a' COLLATE NOCASE OR name = 'b'",
        "SELECT id FROM users WHERE age = 1 OR age = 2 + 1",
        "SELECT DISTINCT name FROM users",
        "SELECT DISTINCT code FROM countries",  # a PRIMARY KEY that may be NULL, many times
        "SELECT DISTINCT u.id FROM users u JOIN orders o ON o.user_id = u.id",
        "SELECT id FROM users WHERE (SELECT count(*) FROM orders GROUP BY status) > 0",
        "SELECT id FROM users WHERE (SELECT count(*) FROM orders) > 1",
        "SELECT id FROM users WHERE (SELECT count(*) FROM orders) > 0 + age",
    ],
)
def test_what_is_not_proved_is_not_offered(analyzer: QueryAnalyzer, sql: str) -> None:
    assert rewrites(analyzer, sql) == {}


@pytest.fixture
def odd_rows() -> Iterator[sqlite3.Connection]:
    """Tables of NULLs, duplicates and mixed types."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    values = [None, 1, 2, 1.0, "1", "a", "A", b"1", ""]
    draw = random.Random(3)
    for n in range(200):
        connection.execute(
            "INSERT INTO users (email, name, city, age) VALUES (?, ?, ?, ?)",
            (f"{n}", draw.choice(values), draw.choice(values), draw.choice(values)),
        )
        connection.execute("INSERT INTO orders (user_id) VALUES (?)", (draw.choice([None, 1, 2, "3", 400]),))
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM users WHERE age = 1 OR age = '2' OR age = 'a'",
        "SELECT id FROM users WHERE NOT (city = 'a' OR city = 1)",
        "SELECT DISTINCT email, name FROM users",
        "SELECT id FROM users u WHERE (SELECT count(*) FROM orders o WHERE o.user_id = u.id) <> 0 OR age = 1",
    ],
)
def test_a_rewrite_gives_the_same_rows_where_rows_are_odd(
    analyzer: QueryAnalyzer, odd_rows: sqlite3.Connection, sql: str
) -> None:
    (rewritten,) = rewrites(analyzer, sql).values()
    assert sorted(map(repr, odd_rows.execute(sql))) == sorted(map(repr, odd_rows.execute(rewritten)))
