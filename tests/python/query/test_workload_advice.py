"""Advice for whole workloads: what pays only together, what shows in no plan, and what can go."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from pathlib import Path

import pytest

from mcp_performance import Advice, ConfigurationError, QueryAnalyzer, SQLitePool, read_workload

ROWS = 12_000


def build(path: Path, script: str = "") -> None:
    """People, their orders and a full-text index of notes, with keys but no other index."""
    draw = random.Random(5)
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, town TEXT, phone TEXT, mail TEXT, age
        INTEGER); CREATE TABLE orders (id INTEGER PRIMARY KEY, person INTEGER REFERENCES people ON DELETE
        CASCADE,
            code TEXT, state TEXT, total REAL, at TEXT);
        CREATE TABLE totals (person INTEGER, amount REAL);
        CREATE VIEW big AS SELECT * FROM orders WHERE total > 0;
        CREATE VIRTUAL TABLE notes USING fts5(body);
        """
    )
    connection.executemany(
        "INSERT INTO people (name, town, phone, mail, age) VALUES (?, ?, ?, ?, ?)",
        ((f"n{n % 4000}", f"t{n % 97}", f"{n:08}", f"M{n}@example.org", n % 80) for n in range(ROWS)),
    )
    connection.executemany(
        "INSERT INTO orders (person, code, state, total, at) VALUES (?, ?, ?, ?, ?)",
        (
            (draw.randint(1, ROWS), f"c{n % 3000}", draw.choice("abc"), n % 1000, f"2024-{n % 12 + 1:02}")
            for n in range(ROWS)
        ),
    )
    connection.executemany("INSERT INTO totals VALUES (?, 0)", ((n,) for n in range(ROWS)))
    connection.executemany("INSERT INTO notes VALUES (?)", ((f"word{n % 50} of {n}",) for n in range(ROWS)))
    connection.executescript(script)
    connection.commit()
    connection.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workload") / "people.db"
    build(path)
    return path


def keys(advice: Advice) -> set[tuple[str, ...]]:
    return {(index.table, *index.columns) for index in advice}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT age FROM people WHERE phone = ? OR mail = ?", {("people", "phone"), ("people", "mail")}),
        (
            "SELECT age FROM people WHERE phone = '7' UNION ALL SELECT total FROM orders WHERE code = 'c9'",
            {("people", "phone"), ("orders", "code")},
        ),
        (
            "SELECT o.total FROM people p JOIN orders o ON o.person = p.id WHERE p.phone = ?",
            {("people", "phone"), ("orders", "person")},
        ),
        (
            "SELECT n.rowid FROM notes n JOIN orders o ON o.person = n.rowid WHERE n.body MATCH 'word7'"
            " AND o.code = 'c7'",
            {("orders", "code")},
        ),
        ("SELECT total FROM big WHERE code = ?", {("orders", "code")}),
        ("SELECT age FROM people WHERE lower(mail) = ?", {("people", "lower(mail)")}),
        ("SELECT age FROM people WHERE substr(phone, 1, 6) = '000042'", {("people", "substr(phone, 1, 6)")}),
        ("DELETE FROM people WHERE id = ?", {("orders", "person")}),
        ("WITH c AS (SELECT * FROM orders WHERE code = ?) SELECT total FROM c", {("orders", "code")}),
        ("SELECT total FROM orders WHERE code IN (?, ?, ?)", {("orders", "code")}),
        (
            "SELECT p.age FROM people p WHERE p.phone = ? AND EXISTS"
            " (SELECT 1 FROM orders o WHERE o.person = p.id)",
            {("people", "phone"), ("orders", "person")},
        ),
        ("SELECT age FROM people WHERE (name, town) = ('n5', 't5')", {("people", "name")}),
    ],
)
def test_each_kind_of_statement_gets_what_it_lacks(
    database: Path, sql: str, expected: set[tuple[str, ...]]
) -> None:
    advice = QueryAnalyzer(database).advise([sql])
    found = keys(advice)
    assert len(found) == len(expected)
    for key in expected:
        assert any(one[: len(key)] == key for one in found), found
    assert all(index.verified for index in advice)


def test_a_trigger_that_looks_something_up_gets_its_index(tmp_path: Path) -> None:
    path = tmp_path / "trigger.db"
    build(
        path,
        "CREATE TRIGGER summed AFTER INSERT ON orders BEGIN"
        " UPDATE totals SET amount = amount + new.total WHERE person = new.person; END;",
    )
    (index,) = QueryAnalyzer(path).advise(["INSERT INTO orders (person, total) VALUES (?, ?)"])
    assert (index.table, *index.columns) == ("totals", "person")
    assert index.cost_before is not None
    assert index.cost_after is not None
    assert index.cost_before > 20 * index.cost_after


def test_optional_filters_get_short_indexes_and_no_long_one(database: Path) -> None:
    shapes = [
        "SELECT id FROM people WHERE name = ?",
        "SELECT id FROM people WHERE phone = ?",
        "SELECT id FROM people WHERE name = ? AND town = ?",
        "SELECT id FROM people WHERE name = ? AND town = ? AND phone = ? AND mail = ? AND age = ?",
    ]
    advice = QueryAnalyzer(database).advise(shapes)
    assert {index.columns[0] for index in advice} == {"name", "phone"}
    assert all(len(index.columns) <= 2 for index in advice)


def test_every_line_says_what_it_is_worth(database: Path) -> None:
    write = "INSERT INTO orders (person, code) VALUES (?, ?)"
    advice = QueryAnalyzer(database).advise([("SELECT total FROM orders WHERE code = 'c7'", 3), (write, 2)])
    (index,) = advice
    assert index.ddl == "CREATE INDEX idx_orders_code ON orders(code)"
    assert index.rows_before is not None
    assert index.rows_after is not None
    assert index.rows_before > 3 * ROWS * 0.9 > index.rows_after
    assert index.seconds_before is not None
    assert index.seconds_after is not None
    assert index.runs >= 3
    assert index.confidence == "high"
    assert index.bytes is not None
    assert index.bytes > ROWS * 6
    assert (
        index.write_costs.keys() == {"INSERT INTO orders(person, code) VALUES (?)"}
        or len(index.write_costs) == 1
    )
    assert index.write_cost == 2 * sum(index.write_costs.values())
    assert advice.seconds_before >= index.seconds_before
    assert json.loads(json.dumps(advice.to_dict()))["indexes"][0]["ddl"] == index.ddl


def test_the_same_workload_has_the_same_advice(database: Path) -> None:
    workload = [
        "SELECT age FROM people WHERE phone = ? OR mail = ?",
        "SELECT town, count(*) FROM people WHERE age = ? GROUP BY town",
        "SELECT p.name, o.total FROM people p JOIN orders o ON o.person = p.id WHERE o.code = ?",
        "UPDATE orders SET state = ? WHERE code = ? AND at = ?",
    ]
    once, again = (QueryAnalyzer(database).advise(workload, budget=60) for _ in range(2))
    assert [index.ddl for index in once] == [index.ddl for index in again]
    assert [index.cost_after for index in once] == [index.cost_after for index in again]


def test_a_budget_of_indexes_and_bytes_is_kept(database: Path) -> None:
    workload = [
        ("SELECT age FROM people WHERE phone = ?", 9.0),
        ("SELECT age FROM people WHERE mail = ?", 3.0),
        ("SELECT total FROM orders WHERE code = ?", 1.0),
    ]
    analyzer = QueryAnalyzer(database)
    assert len(analyzer.advise(workload)) == 3
    (one,) = analyzer.advise(workload, max_indexes=1)
    assert one.columns == ("phone",)
    assert one.bytes is not None
    small = analyzer.advise(workload, max_bytes=one.bytes + 1)
    assert small.bytes <= one.bytes + 1


def test_redundant_and_unused_indexes_are_named_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "drops.db"
    build(
        path,
        "CREATE INDEX by_code ON orders(code); CREATE INDEX by_code_at ON orders(code, at);"
        "CREATE INDEX by_total ON orders(total); CREATE UNIQUE INDEX by_phone ON people(phone);",
    )
    advice = QueryAnalyzer(path).advise(
        ["SELECT total FROM orders WHERE code = ?", "SELECT id FROM orders WHERE code = ? AND at = ?"]
    )
    assert {(drop.index, drop.reason) for drop in advice.drops} == {
        ("by_code", "redundant"),
        ("by_total", "unused"),
    }
    assert "by_code_at" in next(drop.evidence for drop in advice.drops if drop.index == "by_code")
    assert list(advice) == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'by%'").fetchone() == (
            4,
        )


def test_an_index_that_a_foreign_key_needs_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    build(
        path,
        "CREATE TABLE seats (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, person INTEGER REFERENCES people(id),"
        " FOREIGN KEY (b, a) REFERENCES pairs (y, x)); CREATE TABLE pairs (x INTEGER, y TEXT, UNIQUE (y, x));"
        "INSERT INTO seats SELECT id, id, id, id FROM people;"
        "CREATE INDEX by_person ON seats(person, b); CREATE INDEX by_pair ON seats(a, b);"
        "CREATE INDEX by_person_alone ON seats(person); CREATE INDEX by_b ON seats(b);"
        "CREATE INDEX of_one ON seats(person) WHERE a = 1; CREATE UNIQUE INDEX by_id ON seats(id);",
    )
    drops = QueryAnalyzer(path).advise(["SELECT count(*) FROM seats WHERE id = ?"]).drops
    assert {(drop.index, drop.reason) for drop in drops} == {
        ("by_person_alone", "redundant"),
        ("by_b", "unused"),
        ("of_one", "unused"),
    }
    assert all(drop.bytes is not None and drop.bytes >= 4096 for drop in drops)


def test_statistics_are_advised_where_they_are_what_helps(tmp_path: Path) -> None:
    path = tmp_path / "skewed.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a INTEGER, b INTEGER, c TEXT)")
    connection.executemany(
        "INSERT INTO t VALUES (?, ?, ?)", ((n % 2, n // 3, "x" * 20) for n in range(30_000))
    )
    connection.executescript("CREATE INDEX by_b ON t(b); CREATE INDEX by_a ON t(a);")
    connection.close()
    advice = QueryAnalyzer(path).advise(["SELECT c FROM t WHERE a = 1 AND b = 77"], max_bytes=1)
    assert advice.statistics is not None
    assert advice.statistics.cost_after * 20 < advice.statistics.cost_before


def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "applied.db"
    build(path)
    before = hashlib.sha256(path.read_bytes()).digest()
    analyzer = QueryAnalyzer(path)
    workload = ["SELECT age FROM people WHERE phone = ?"]
    advised = analyzer.advise(workload)
    assert advised.applied == ()
    assert hashlib.sha256(path.read_bytes()).digest() == before
    applied = analyzer.advise(workload, apply=True)
    assert list(applied.applied) == [index.ddl for index in advised]
    with sqlite3.connect(path) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT age FROM people WHERE phone = 'x'").fetchone()[3]
    assert "SEARCH" in plan
    assert analyzer.advise(workload) == []


def test_progress_is_told_and_may_stop_it(database: Path) -> None:
    told: list[tuple[str, float]] = []
    QueryAnalyzer(database).advise(
        ["SELECT age FROM people WHERE phone = ?"], progress=lambda what, share: told.append((what, share))
    )
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert told[-1][1] <= 1

    class StopError(Exception):
        pass

    def stop(what: str, share: float) -> None:
        raise StopError(what)

    with pytest.raises(StopError):
        QueryAnalyzer(database).advise(["SELECT age FROM people WHERE phone = ?"], progress=stop)


async def test_the_pools_own_statements_are_the_workload(tmp_path: Path) -> None:
    path = tmp_path / "pool.db"
    build(path)
    async with SQLitePool(path) as pool:
        for number in range(20):
            await pool.fetch("SELECT age FROM people WHERE phone = ?", (f"{number:08}",))
        (index,) = QueryAnalyzer(pool).advise(apply=True)
        assert index.columns == ("phone",)
        names = await pool.fetch("SELECT name FROM sqlite_schema WHERE tbl_name = 'people'")
        assert ("idx_people_phone",) in names


# --- logs ---

FIRST, SECOND = (f"SELECT total FROM orders WHERE code = '{code}'" for code in ("c1", "c2"))
LOGS = {
    "one statement a line": f"{FIRST}\n{SECOND}\n",
    "what the shell traces": "SELECT total\n  FROM orders\n  WHERE code = 'c;1';\n-- a trigger\n"
    f"{SECOND};\nCOMMIT;\n",
    "JSON lines": '{"sql": "SELECT total FROM orders WHERE code = ?", "params": ["c1"], "calls": 5}\n'
    '{"statement": "SELECT total FROM orders WHERE code = :c", "parameters": {"c": "c2"}}\n',
}


@pytest.mark.parametrize("text", LOGS.values(), ids=LOGS)
def test_a_log_is_a_workload(database: Path, tmp_path: Path, text: str) -> None:
    log = tmp_path / "statements.log"
    log.write_text(text)
    (index,) = QueryAnalyzer(database).advise(log)
    assert index.columns == ("code",)
    assert index.confidence == "high"


def test_equal_statements_of_a_log_are_counted_together(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"sql": "SELECT 1", "calls": 2}\n{"sql": "SELECT 1"}\n{"sql": "SELECT ?", "params": [1]}\n'
    )
    assert read_workload(log) == [("SELECT 1", 3.0, None), ("SELECT ?", 1.0, [1])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"\xff\xfe\x00S", "UTF-8"),
        (b'{"sql": ', "log:1"),
        (b'SELECT 1\n{"query": 5}', "log:2"),
        (b'{"sql": "SELECT ?", "params": 5}', "params"),
        (b'{"sql": "SELECT 1", "calls": "two"}', "weight"),
        (b'SELECT 1\n{"sql": "SELECT 1", "calls": -1}', "log:2.*weight"),
        (b'{"sql": "SELECT 1", "calls": 0}', "log:1.*weight"),
        (b'{"sql": "SELECT 1", "calls": NaN}', "log:1.*weight"),
        (b'{"sql": "SELECT 1", "calls": 1e999}', "log:1.*weight"),
        (b'SELECT 1\n["SELECT 1"]', "log:2"),
        (b'SELECT 1\n{"sql":' + b"[" * 100_000, "log:2"),
    ],
)
def test_a_log_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    log = tmp_path / "log"
    if content is not None:
        log.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as refused:
        read_workload(log)
    assert str(log) in str(refused.value)


@pytest.mark.parametrize(
    "bad",
    [
        "SELECT 1",
        b"x",
        {"SELECT 1": 2.0},
        [("SELECT 1", -1.0)],
        [("SELECT 1", 1.0, None, 5)],
        [{"params": []}],
    ],
)
def test_a_workload_of_another_kind_is_refused(database: Path, bad: object) -> None:
    with pytest.raises(ConfigurationError, match="workload"):
        QueryAnalyzer(database).advise(bad)  # type: ignore[arg-type]


def test_what_is_left_out_is_named(database: Path) -> None:
    advice = QueryAnalyzer(database).advise(
        ["SELECT nothing FROM nowhere", "SELECT age FROM people WHERE phone = 1"]
    )
    assert any("nowhere" in note for note in advice.notes)


def test_advice_and_report_render_in_a_notebook(database: Path) -> None:
    analyzer = QueryAnalyzer(database)
    page = analyzer.advise(["SELECT age FROM people WHERE phone = '<b>'"])._repr_html_()
    assert "CREATE INDEX idx_people_phone" in page
    assert 'class="bar after"' in page
    report = analyzer.analyze("SELECT age FROM people WHERE phone = '<b>'")._repr_html_()
    assert "missing-index" in report
    assert "<b>" not in page + report


def test_a_rare_state_gets_an_index_of_its_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "states.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, owner INTEGER, state TEXT, note TEXT)")
    connection.executemany(
        "INSERT INTO jobs (owner, state, note) VALUES (?, ?, ?)",
        ((n % 40, "open" if n % 500 == 0 else "done", "x" * 40) for n in range(30_000)),
    )
    connection.commit()
    connection.close()
    (index,) = QueryAnalyzer(path).advise(["SELECT id FROM jobs WHERE state = 'open' AND owner = 0"])
    assert index.ddl.endswith("ON jobs(owner) WHERE state = 'open'")
    assert index.verified
    assert index.bytes is not None
    assert index.bytes <= 8192
    # Another constant each time: no index for one of them.
    texts = [f"SELECT id FROM jobs WHERE state = '{state}' AND owner = 0" for state in ("open", "done")]
    assert all(" WHERE " not in one.ddl for one in QueryAnalyzer(path).advise(texts))


@pytest.mark.parametrize(
    ("sql", "table", "column"),
    [
        ("UPDATE people SET age = 1 WHERE phone = ? RETURNING id", "people", "phone"),
        ("DELETE FROM orders WHERE code = ? RETURNING *", "orders", "code"),
        (
            "INSERT INTO totals SELECT id, 0 FROM people WHERE phone = ? ON CONFLICT DO NOTHING",
            "people",
            "phone",
        ),
        ("SELECT main.orders.total FROM main.orders WHERE main.orders.code = 'c7'", "orders", "code"),
        ("SELECT max(total) FROM orders WHERE code = ?", "orders", "code"),
    ],
)
def test_what_a_statement_does_beside_its_search_hides_no_index(
    database: Path, sql: str, table: str, column: str
) -> None:
    analyzer = QueryAnalyzer(database)
    (index,) = analyzer.advise([sql])
    assert (index.table, index.columns[0]) == (table, column)
    assert {"full-scan", "missing-index"} <= {issue.code for issue in analyzer.analyze(sql).issues}


ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
CUBE = "SELECT count(*) FROM people a, people b, orders c WHERE a.age < b.age AND b.age < c.total"
EASY = (
    "SELECT age FROM people WHERE phone = ?",
    "SELECT total FROM orders WHERE code = ?",
    "SELECT p.age FROM people p JOIN orders o ON o.person = p.id WHERE o.at = ? AND p.name = ?",
)


def test_statements_without_end_leave_the_budget_to_the_others(database: Path) -> None:
    advice = QueryAnalyzer(database).advise([ENDLESS, CUBE, *EASY], budget=4)
    assert {("people", "phone"), ("orders", "code")} <= {(one.table, one.columns[0]) for one in advice}
    assert all(one.verified for one in advice)
    stopped = {one.fingerprint for one in advice.statements if one.at_least}
    assert len(stopped) == 2
    for fingerprint in stopped:
        assert any(note.startswith(fingerprint) for note in advice.notes)


SEVERAL = (
    *EASY,
    "SELECT town, count(*) FROM people WHERE age = ? GROUP BY town",
    "SELECT age FROM people WHERE phone = ? OR mail = ?",
    "SELECT total FROM orders WHERE state = ? ORDER BY at LIMIT 5",
    "UPDATE orders SET state = ? WHERE code = ? AND at = ?",
)


def test_more_budget_never_gives_worse_advice(database: Path) -> None:
    after = []
    for budget in (0.05, 0.2, 0.5, 2.0, 20.0):
        once, again = (QueryAnalyzer(database).advise(SEVERAL, budget=budget) for _ in range(2))
        notes = " ".join(once.notes + again.notes)
        if "depended on the machine" not in notes and "longer than the time budget" not in notes:
            assert [index.ddl for index in once] == [index.ddl for index in again]
        if once.statements:
            after.append(sum(one.cost_after for one in once.statements))
        else:
            assert "budget" in notes
    assert after == sorted(after, reverse=True)
    assert after[-1] * 10 < sum(one.cost_before for one in once.statements)
