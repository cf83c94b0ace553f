"""Findings on three databases as people write them: a shop, tickets, telemetry.

``statements/`` holds the schemas, 200 statements that are well, and 120 that are ill, each with the
finding that it should have. Healthy: keys, covering, partial and expression indexes, collations, full text,
r-trees, JSON, views, triggers, cascades, upserts, windows, CTEs.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcp_performance import QueryAnalyzer

FOLDER = Path(__file__).with_name("statements")
ROWS = 6000
START = 1_700_000_000
Fill = Callable[[str, Iterator[tuple[object, ...]]], object]


def lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def shop(draw: random.Random, fill: Fill) -> None:
    def moment(first: int) -> str:
        day = f"20{draw.randint(first, 24)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
        return f"{day} {draw.randint(0, 23):02}:{draw.randint(0, 59):02}:00"

    fill(
        "customer VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (
                i,
                f"c{i}@mail.example",
                f"Name {i}",
                draw.choice(("DE", "FR", "US")),
                moment(18),
                i % 50 == 0,
                None if i % 3 == 0 else f"+49{i:08}",
            )
            for i in range(1, ROWS + 1)
        ),
    )
    fill("category VALUES (?, ?, ?)", ((i, i // 8 or None, f"cat {i}") for i in range(1, 301)))
    fill(
        "product VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                i,
                f"SKU-{i:06}",
                f"Thing {i}",
                draw.randint(1, 300),
                draw.randint(100, 99_999),
                draw.randint(0, 500),
                json.dumps({"color": f"c{draw.randint(0, 60)}", "size": draw.randint(1, 50)}),
                f"Brand{draw.randint(1, 400)}",
            )
            for i in range(1, ROWS // 2 + 1)
        ),
    )
    states = ("open", "paid", "sent", "done")
    fill(
        "purchase VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                i,
                draw.randint(1, ROWS),
                draw.choices(states, (1, 5, 10, 84))[0],
                moment(20),
                draw.randint(100, 100_000),
                f"K{draw.randint(1, 500)}" if i % 10 == 0 else None,
            )
            for i in range(1, 2 * ROWS + 1)
        ),
    )
    fill(
        "line VALUES (?, ?, ?, ?, ?)",
        (
            (
                draw.randint(1, 2 * ROWS),
                draw.randint(1, 4),
                draw.randint(1, ROWS // 2),
                1,
                draw.randint(100, 9999),
            )
            for _ in range(3 * ROWS)
        ),
    )
    fill(
        "review VALUES (?, ?, ?, ?, 'text', ?)",
        (
            (i, draw.randint(1, ROWS // 2), draw.randint(1, ROWS), draw.randint(1, 5), moment(24)[:10])
            for i in range(ROWS)
        ),
    )
    fill("setting VALUES (?, ?)", ((f"k{i}", str(i)) for i in range(20)))
    fill(
        "product_text (rowid, title, body) VALUES (?, ?, ?)",
        ((i, f"Thing {i}", f"nice word{i % 97}") for i in range(1, ROWS // 2)),
    )
    fill(
        "shop_place VALUES (?, ?, ?, ?, ?)",
        ((i, i % 100, i % 100 + 1, i // 100, i // 100 + 1) for i in range(1, 2000)),
    )


def tickets(draw: random.Random, fill: Fill) -> None:
    fill("org VALUES (?, ?, ?)", ((i, f"Org{i}", draw.choice(("free", "pro"))) for i in range(1, 201)))
    fill(
        "agent VALUES (?, ?, ?, ?)",
        ((i, draw.randint(1, 200), f"agent{i}", i % 10 > 0) for i in range(1, 2001)),
    )
    fill("tag VALUES (?, 'red')", ((f"tag{i}",) for i in range(300)))
    states = ("open", "waiting", "solved", "closed")
    fill(
        "ticket (id, org, number, title, state, priority, assignee, reporter, opened, closed, meta)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                i,
                i % 200 + 1,
                i // 200,
                f"Ticket about {i}",
                draw.choices(states, (5, 5, 20, 70))[0],
                draw.randint(1, 5),
                draw.randint(1, 2000) if i % 5 else None,
                f"User{draw.randint(1, 3000)}@x.example",
                START + i * 500,
                START + i * 500 + draw.randint(1, 10**6) if i % 10 else None,
                json.dumps({"src": draw.choice(("mail", "web")), "n": i}),
            )
            for i in range(1, 2 * ROWS + 1)
        ),
    )
    fill(
        "comment VALUES (?, ?, ?, ?, 'some words')",
        (
            (
                i,
                draw.randint(1, 2 * ROWS),
                draw.randint(1, 2000) if i % 10 else None,
                START + draw.randint(0, 2 * 10**7),
            )
            for i in range(1, 3 * ROWS + 1)
        ),
    )
    fill(
        "ticket_tag VALUES (?, ?)",
        ((draw.randint(1, 2 * ROWS), f"tag{int(draw.random() ** 2 * 300)}") for _ in range(3 * ROWS)),
    )
    kinds = ("closed", "opened", "mail")
    fill(
        "audit (kind, ref, at) VALUES (?, ?, ?)",
        ((draw.choice(kinds), draw.randint(1, 2 * ROWS), START + i) for i in range(2 * ROWS)),
    )
    fill(
        "ticket_fts (rowid, title, body) VALUES (?, ?, ?)",
        ((i, f"Ticket about {i}", f"w{i % 89}") for i in range(1, ROWS)),
    )


def telemetry(draw: random.Random, fill: Fill) -> None:
    fill(
        "site VALUES (?, ?, ?, ?)",
        ((i, f"S{i:03}", draw.random() * 90, draw.random() * 90) for i in range(1, 301)),
    )
    fill(
        "device VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                i,
                draw.randint(1, 300),
                f"SN{i:07}",
                f"M{draw.randint(1, 60)}",
                f"v{draw.randint(1, 9)}",
                None if i % 10 else START,
            )
            for i in range(1, ROWS // 2 + 1)
        ),
    )
    fill(
        "reading VALUES (?, ?, ?, ?)",
        (
            (
                draw.randint(1, ROWS // 2),
                START + draw.randint(0, 10**6),
                draw.choice(("temp", "hum", "volt")),
                draw.gauss(20, 5),
            )
            for _ in range(6 * ROWS)
        ),
    )
    levels = ("debug", "info", "warn", "error")
    fill(
        "event VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                i,
                draw.randint(1, ROWS // 2),
                START + draw.randint(0, 10**6),
                draw.choices(levels, (40, 40, 15, 5))[0],
                json.dumps({"k": i % 700, "user": f"u{i % 900}"}),
                draw.randint(1, 900) if i % 3 == 0 else None,
            )
            for i in range(1, 3 * ROWS + 1)
        ),
    )
    fill(
        "hourly VALUES (?, ?, ?, 60, 1200.5, 1.0, 2.0)",
        (
            (draw.randint(1, ROWS // 2), draw.randint(0, 1000), draw.choice(("temp", "hum")))
            for _ in range(2 * ROWS)
        ),
    )
    fill(
        "alarm VALUES (?, ?, ?, ?, ?)",
        (
            (
                i,
                draw.randint(1, ROWS // 2),
                START + draw.randint(0, 10**6),
                START if i % 33 else None,
                f"rule{draw.randint(1, 30)}",
            )
            for i in range(1, ROWS + 1)
        ),
    )
    fill(
        "device_area VALUES (?, ?, ?, ?, ?)",
        ((i, i % 77, i % 77 + 1, i // 77, i // 77 + 1) for i in range(1, ROWS // 2)),
    )


BUILDERS = {"shop": shop, "tickets": tickets, "telemetry": telemetry}


@pytest.fixture(scope="module", params=BUILDERS)
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, QueryAnalyzer]:
    name = request.param
    path = tmp_path_factory.mktemp("statements") / f"{name}.db"
    connection = sqlite3.connect(path)
    connection.executescript((FOLDER / f"{name}.schema.sql").read_text(encoding="utf-8"))
    connection.execute("PRAGMA journal_mode = off")

    def fill(into: str, rows: Iterator[tuple[object, ...]]) -> None:
        connection.executemany(f"INSERT OR IGNORE INTO {into}", rows)

    BUILDERS[name](random.Random(name), fill)
    connection.execute("ANALYZE")
    connection.commit()
    connection.close()
    return name, QueryAnalyzer(path)


def test_nothing_is_found_on_what_is_well(database: tuple[str, QueryAnalyzer]) -> None:
    name, analyzer = database
    found = {}
    for sql in lines(f"{name}.healthy.sql"):
        report = analyzer.analyze(sql)
        grave = [issue.message for issue in report.issues if issue.severity != "info"]
        if grave or report.indexes:
            found[sql] = (grave, [index.ddl for index in report.indexes])
    assert found == {}


def test_what_is_ill_has_its_finding_and_the_finding_its_place(database: tuple[str, QueryAnalyzer]) -> None:
    name, analyzer = database
    missed, without_place = [], []
    for line in lines(f"{name}.ill.sql"):
        code, sql = line.split(": ", 1)
        issues = [issue for issue in analyzer.analyze(sql).issues if issue.code == code]
        if not issues:
            missed.append(line)
        without_place += [line for issue in issues if issue.offset is None]
    assert missed == []
    assert without_place == []
