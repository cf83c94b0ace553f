"""Index advice: tried on a copy, true on the original."""

import hashlib
import random
import sqlite3
from pathlib import Path

import pytest

from mcp_performance import ConfigurationError, IndexAdvice, QueryAnalyzer

EVENTS = 20_000


def build(path: Path, *, analyze: bool) -> None:
    draw = random.Random(11)
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE events (id INTEGER PRIMARY KEY, kind TEXT, user INTEGER, at INTEGER, note TEXT,
            amount REAL);
        CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, town TEXT);
        CREATE TABLE kinds (name TEXT PRIMARY KEY, label TEXT);
        CREATE INDEX people_by_name ON people(name);
        """
    )
    connection.executemany(
        "INSERT INTO events (kind, user, at, note, amount) VALUES (?, ?, ?, ?, ?)",
        ((draw.choice("abcdefgh"), draw.randint(1, 2000), n * 60, "x" * 60, n % 100) for n in range(EVENTS)),
    )
    connection.executemany(
        "INSERT INTO people (name, town) VALUES (?, ?)", ((f"p{n}", f"t{n % 300}") for n in range(2000))
    )
    connection.executemany("INSERT INTO kinds VALUES (?, ?)", ((k, k * 3) for k in "abcdefgh"))
    if analyze:
        connection.execute("ANALYZE")
    connection.commit()
    connection.close()


@pytest.fixture(scope="module", params=[False, True], ids=["no statistics", "analyzed"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("advice") / "events.db"
    build(path, analyze=request.param)
    return path


def columns(advice: list[IndexAdvice]) -> set[tuple[str, ...]]:
    return {index.columns for index in advice}


def used_by_sqlite(database: Path, index: IndexAdvice, sql: str, tmp_path: Path) -> bool:
    """Whether SQLite itself takes the index once it is there."""
    copy = tmp_path / f"copy{random.random()}.db"
    copy.write_bytes(database.read_bytes())
    connection = sqlite3.connect(copy)
    connection.execute(index.ddl)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}".replace("?", "1"))]
    connection.close()
    name = index.ddl.split()[2]
    return any(name in line for line in plan)


def test_equality_then_order(database: Path) -> None:
    (index,) = QueryAnalyzer(database).advise(
        ["SELECT note FROM events WHERE user = ? ORDER BY at DESC LIMIT 5"]
    )
    assert index.columns == ("user", "at")
    assert index.ddl == "CREATE INDEX idx_events_user_at ON events(user, at)"
    assert index.table == "events"
    assert index.verified
    assert index.cost_before is not None
    assert index.cost_after is not None
    assert index.cost_before > 20 * index.cost_after


def test_equality_then_range(database: Path) -> None:
    advice = QueryAnalyzer(database).advise(["SELECT note FROM events WHERE at > 1190000 AND user = 7"])
    assert columns(advice) == {("user", "at")} or columns(advice) == {("user",)}


def test_grouping_is_covered(database: Path) -> None:
    (index,) = QueryAnalyzer(database).advise(
        ["SELECT user, sum(amount) FROM events WHERE kind = 'b' GROUP BY user"]
    )
    assert index.columns == ("kind", "user", "amount")


def test_a_join_gets_its_column(database: Path) -> None:
    sql = "SELECT p.name, e.note FROM people p JOIN events e ON e.user = p.id WHERE p.name = 'p77'"
    (index,) = QueryAnalyzer(database).advise([sql])
    assert index.columns == ("user",)


def test_queries_that_begin_alike_share_an_index(database: Path) -> None:
    advice = QueryAnalyzer(database).advise(
        [
            "SELECT note FROM events WHERE user = ?",
            "SELECT note FROM events WHERE user = ? ORDER BY at LIMIT 3",
            "SELECT note FROM events WHERE user = ? AND at = ?",
        ]
    )
    assert columns(advice) == {("user", "at")}
    assert len(advice[0].used_by) == 3


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM people WHERE name = 'p5'",
        "SELECT note FROM events WHERE id = 7",
        "SELECT label FROM kinds WHERE label = 'aaa'",
        "SELECT note FROM events WHERE note LIKE '%y%'",
        "SELECT count(*) FROM events",
        "SELECT note FROM events",
        "INSERT INTO kinds VALUES ('z', 'z')",
        "PRAGMA user_version",
        "SELECT nothing FROM nowhere",
        "not SQL at all",
        "",
    ],
)
def test_where_nothing_is_to_be_gained_nothing_is_advised(database: Path, sql: str) -> None:
    assert QueryAnalyzer(database).advise([sql]) == []


def test_advice_holds_on_the_original(database: Path, tmp_path: Path) -> None:
    workload = {
        "SELECT note FROM events WHERE user = ? ORDER BY at": 5.0,
        "SELECT at, amount FROM events WHERE kind = ? AND amount > 97": 2.0,
        "SELECT town, count(*) FROM people GROUP BY town": 1.0,
        "SELECT id FROM people WHERE town = ?": 1.0,
        "UPDATE people SET town = ? WHERE id = ?": 1.0,
    }
    analyzer = QueryAnalyzer(database)
    by_fingerprint = {analyzer.analyze(sql).fingerprint: sql for sql in workload}
    advice = analyzer.advise(list(workload.items()))
    assert advice
    for index in advice:
        assert index.verified
        for fingerprint in index.used_by:
            assert used_by_sqlite(database, index, by_fingerprint[fingerprint], tmp_path), index


def test_writes_have_a_price_that_can_be_too_high(database: Path) -> None:
    read = ("SELECT id FROM people WHERE town = ?", 1.0)
    write = "UPDATE people SET town = ? WHERE id = ?"
    other = "UPDATE people SET name = ? WHERE id = ?"
    analyzer = QueryAnalyzer(database)
    (free,) = analyzer.advise([read, (other, 10.0)])
    assert free.write_cost == 0
    (paid,) = analyzer.advise([read, (write, 10.0)])
    assert paid.write_cost > 0
    assert analyzer.advise([read, (write, 1e6)]) == []


def test_weights_decide_what_a_shared_prefix_begins_with(database: Path) -> None:
    both = "SELECT note FROM events WHERE kind = ? AND user = ?"
    by_user = "SELECT note FROM events WHERE user = ?"
    assert columns(QueryAnalyzer(database).advise([(both, 1), (by_user, 9)])) <= {("user", "kind"), ("user",)}


def test_a_delete_is_measured_and_undone(database: Path) -> None:
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    (index,) = QueryAnalyzer(database).advise(["DELETE FROM events WHERE user = ?"])
    assert index.columns == ("user",)
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before


def test_like_with_a_prefix_gets_an_index_without_case(database: Path) -> None:
    (index,) = QueryAnalyzer(database).advise(["SELECT id FROM people WHERE town LIKE 't12%'"])
    assert index.ddl == "CREATE INDEX idx_people_town ON people(town COLLATE NOCASE)"


def test_the_planner_is_asked_in_the_presence_of_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "busy.db"
    build(path, analyze=False)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO kinds VALUES ('q', 'q')")
    (index,) = QueryAnalyzer(path).advise(["SELECT note FROM events WHERE user = 7"])
    assert index.verified
    writer.execute("COMMIT")
    writer.close()


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("uri", [False, True])
def test_nothing_is_left_beside_a_database_that_nobody_has_open(
    tmp_path: Path, journal: str, uri: bool
) -> None:
    path = tmp_path / "alone.db"
    build(path, analyze=False)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.execute("CREATE TABLE last (a)")
    connection.close()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    analyzer = QueryAnalyzer(f"{path.as_uri()}?immutable=1" if uri else path)
    assert analyzer.analyze("SELECT note FROM events WHERE user = 7").issues
    assert analyzer.advise(["SELECT note FROM events WHERE user = 7", "DELETE FROM events WHERE user = ?"])
    assert [file.name for file in tmp_path.iterdir()] == ["alone.db"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_what_lies_beside_a_database_stays(tmp_path: Path) -> None:
    path = tmp_path / "crashed.db"
    build(path, analyze=False)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE INDEX late ON events (user)")
    copy = tmp_path / "copy.db"
    for end in ("", "-wal"):
        (tmp_path / f"copy.db{end}").write_bytes((tmp_path / f"crashed.db{end}").read_bytes())
    connection.close()
    before = [hashlib.sha256((tmp_path / f"copy.db{end}").read_bytes()).hexdigest() for end in ("", "-wal")]
    assert not QueryAnalyzer(copy).advise(["SELECT note FROM events WHERE user = 7"])
    after = [hashlib.sha256((tmp_path / f"copy.db{end}").read_bytes()).hexdigest() for end in ("", "-wal")]
    assert after == before


def test_without_a_budget_the_planner_alone_is_asked(database: Path) -> None:
    (index,) = QueryAnalyzer(database).advise(
        ["SELECT note FROM events WHERE user = ? ORDER BY at DESC LIMIT 5"], budget=0
    )
    assert index.columns[:2] == ("user", "at")
    assert (index.verified, index.cost_before, index.cost_after) == (False, None, None)


def test_tables_without_rowid_triggers_and_generated_columns_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "special.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE a (k TEXT PRIMARY KEY, v TEXT, w AS (v || 'x')) WITHOUT ROWID;
        CREATE TABLE log (at TEXT, k TEXT);
        CREATE TRIGGER t AFTER INSERT ON a BEGIN INSERT INTO log VALUES (datetime(), new.k); END;
        CREATE VIRTUAL TABLE words USING fts5(text);
        """
    )
    connection.executemany(
        "INSERT INTO a (k, v) VALUES (?, ?)", ((f"k{n}", f"v{n % 700}") for n in range(3000))
    )
    connection.commit()
    connection.close()
    advice = QueryAnalyzer(path).advise(
        [
            "SELECT k FROM a WHERE v = ?",
            "SELECT text FROM words WHERE words MATCH 'x'",
            "INSERT INTO a (k) VALUES (?)",
        ]
    )
    assert columns(advice) == {("v",)}
    assert advice[0].write_cost > 0


@pytest.mark.parametrize(
    "workload", [[("SELECT 1", 0.0)], [("SELECT 1", float("nan"))], [("SELECT 1", "2")], [5]]
)
def test_a_bad_workload_is_named(database: Path, workload: list[object]) -> None:
    with pytest.raises(ConfigurationError, match=r"weight|workload item"):
        QueryAnalyzer(database).advise(workload)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [-1, float("inf"), True, "5"])
def test_a_bad_budget_is_named(database: Path, budget: float) -> None:
    with pytest.raises(TypeError if budget in (True, "5") else ConfigurationError, match="budget="):
        QueryAnalyzer(database).advise(["SELECT 1"], budget=budget)
