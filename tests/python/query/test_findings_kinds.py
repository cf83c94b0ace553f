"""Findings on schemas of other kinds than test_findings.py's.

Tenants with keys of two columns and no rowid, STRICT tables, partial, expression and descending indexes,
generated columns, full text, views, triggers, keywords as names; a log of events, a social graph, time
series, dates in columns of numeric affinity. Nothing is found on what is well; what is ill has its
finding, however it is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_performance import QueryAnalyzer

TENANTS = """
CREATE TABLE tenants(id TEXT PRIMARY KEY, plan TEXT NOT NULL, created_at INTEGER NOT NULL) WITHOUT
  ROWID;
CREATE TABLE members(tenant_id TEXT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE, user_no INTEGER
  NOT NULL, email TEXT NOT NULL COLLATE NOCASE, role TEXT NOT NULL DEFAULT 'viewer', deleted_at INTEGER,
  PRIMARY KEY(tenant_id,user_no)) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX members_email ON members(tenant_id, email);
CREATE TABLE tickets(id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL REFERENCES tenants(id), assignee
  INTEGER, state TEXT NOT NULL, priority INTEGER NOT NULL, title TEXT NOT NULL, body TEXT, created_at
  INTEGER NOT NULL, closed_at INTEGER, title_lower TEXT GENERATED ALWAYS AS (lower(title)) VIRTUAL);
CREATE INDEX tickets_open ON tickets(tenant_id, priority) WHERE closed_at IS NULL;
CREATE INDEX tickets_created ON tickets(tenant_id, created_at DESC);
CREATE INDEX tickets_title ON tickets(tenant_id, title_lower);
CREATE INDEX tickets_day ON tickets(date(created_at,'unixepoch'));
CREATE TABLE "order"("group" INTEGER NOT NULL, "select" TEXT, "naïve ключ" TEXT, PRIMARY KEY("group"));
CREATE INDEX "idx from" ON "order"("naïve ключ");
CREATE VIEW open_tickets AS SELECT id, tenant_id, priority, title FROM tickets WHERE closed_at IS NULL;
CREATE TABLE audit(seq INTEGER PRIMARY KEY AUTOINCREMENT, ticket_id INTEGER NOT NULL, what TEXT NOT
  NULL, at INTEGER NOT NULL);
CREATE INDEX audit_ticket ON audit(ticket_id, at);
CREATE TRIGGER tickets_au AFTER UPDATE OF state ON tickets BEGIN INSERT INTO audit(ticket_id, what, at)
  VALUES(new.id, new.state, 0); END;
CREATE VIRTUAL TABLE notes USING fts5(title, body);
CREATE TABLE docs(id INTEGER PRIMARY KEY, meta TEXT, kind TEXT AS (json_extract(meta,'$.kind')) STORED);
CREATE INDEX docs_owner ON docs(json_extract(meta,'$.owner'));
CREATE INDEX docs_kind ON docs(kind);
"""
EVENTS = """
CREATE TABLE events(id INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INT NOT NULL, kind TEXT NOT
  NULL, at TEXT NOT NULL, payload BLOB, UNIQUE(stream, version));
CREATE INDEX events_at ON events(at);
CREATE INDEX events_kind ON events(kind, at);
CREATE TABLE nodes(id INTEGER PRIMARY KEY, handle TEXT NOT NULL UNIQUE COLLATE NOCASE, joined TEXT NOT
  NULL, bio TEXT) STRICT;
CREATE TABLE edges(src INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE, dst INTEGER NOT NULL
  REFERENCES nodes, since TEXT NOT NULL, weight REAL, PRIMARY KEY(src, dst)) WITHOUT ROWID;
CREATE INDEX edges_dst ON edges(dst, src);
CREATE TABLE posts(id INTEGER PRIMARY KEY, author INTEGER NOT NULL REFERENCES nodes, at TEXT NOT NULL,
  body TEXT, likes INTEGER NOT NULL DEFAULT 0);
CREATE INDEX posts_author ON posts(author, at DESC);
CREATE INDEX posts_hot ON posts(likes DESC) WHERE likes > 50;
CREATE TABLE samples(series INTEGER NOT NULL, ts INTEGER NOT NULL, v REAL, PRIMARY KEY(series, ts))
  WITHOUT ROWID;
CREATE TABLE series(id INTEGER PRIMARY KEY, host TEXT NOT NULL, metric TEXT NOT NULL, UNIQUE(host,
  metric));
CREATE TABLE carts(id BLOB PRIMARY KEY, owner INTEGER, total NUMERIC(10,2), updated DATETIME);
CREATE INDEX carts_owner ON carts(owner);
CREATE INDEX carts_updated ON carts(updated);
CREATE TABLE loose(a, b, c);
CREATE INDEX loose_a ON loose(a);
"""


def statements(text: str) -> list[str]:
    """Those of *text*, each up to the semicolon at the end of its line."""
    return [one.strip() for one in text.split(";\n")]


def with_findings(text: str) -> list[tuple[str, str]]:
    """Statements of *text*, each with the finding that is named before it."""
    pairs = (one.split(": ", 1) for one in statements(text))
    return [(sql, code) for code, sql in pairs]


HEALTHY_TENANTS = statements(
    """
SELECT plan FROM tenants WHERE id = ?;
SELECT plan FROM tenants WHERE id IN (?, ?, ?);
SELECT email, role FROM members WHERE tenant_id = ? AND user_no = ?;
SELECT email, role FROM members WHERE tenant_id = 't0001' ORDER BY user_no;
SELECT user_no FROM members WHERE tenant_id = ? AND email = ?;
SELECT user_no FROM members WHERE tenant_id = 't0001' AND email = 'u1@x.io';
SELECT user_no FROM members WHERE tenant_id = ? AND email LIKE 'u1%';
SELECT count(*) FROM members WHERE tenant_id = ?;
SELECT tenant_id, count(*) FROM members GROUP BY tenant_id;
SELECT id, title FROM tickets WHERE id = ?;
SELECT id, title FROM tickets WHERE tenant_id = ? AND closed_at IS NULL ORDER BY priority LIMIT 20;
SELECT id, title FROM tickets WHERE tenant_id = ? AND closed_at IS NULL AND priority >= 3;
SELECT id, title FROM open_tickets WHERE tenant_id = ? ORDER BY priority DESC LIMIT 5;
SELECT id, title FROM tickets WHERE tenant_id = ? ORDER BY created_at DESC LIMIT 50;
SELECT id, title FROM tickets WHERE tenant_id = ? AND created_at < ? ORDER BY created_at DESC LIMIT 50;
SELECT id, title FROM tickets WHERE tenant_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at
  DESC, id DESC LIMIT 50;
SELECT id FROM tickets WHERE tenant_id = ? AND title_lower = ?;
SELECT id FROM tickets WHERE tenant_id = ? AND title_lower = lower(?);
SELECT id FROM tickets WHERE tenant_id = 't0009' AND title_lower = 'ticket 9';
SELECT id, title FROM tickets WHERE date(created_at,'unixepoch') = '2020-09-14';
SELECT id, title FROM tickets WHERE date(created_at, 'unixepoch') BETWEEN ? AND ?;
SELECT "select" FROM "order" WHERE "group" = ?;
SELECT [select] FROM [order] WHERE [naïve ключ] = ?;
SELECT `select` FROM `order` WHERE `naïve ключ` IN ('k1','k2');
SELECT rowid FROM notes WHERE notes MATCH ?;
SELECT title FROM notes WHERE notes MATCH 'body' ORDER BY rank LIMIT 10;
SELECT n.title FROM notes n WHERE n.rowid = ?;
SELECT title FROM notes('text') LIMIT 5;
SELECT id FROM docs WHERE json_extract(meta,'$.owner') = ?;
SELECT id FROM docs WHERE json_extract(meta, '$.owner') = 7;
SELECT id FROM docs WHERE kind = 'k3';
SELECT what, at FROM audit WHERE ticket_id = ? ORDER BY at DESC LIMIT 10;
SELECT max(at) FROM audit WHERE ticket_id = ?;
SELECT t.title, a.what FROM tickets t JOIN audit a ON a.ticket_id = t.id WHERE t.id = ?;
SELECT t.title, m.email FROM tickets t JOIN members m ON m.tenant_id = t.tenant_id AND m.user_no =
  t.assignee WHERE t.id = ?;
SELECT t.title, m.email FROM tickets t LEFT JOIN members m ON m.tenant_id = t.tenant_id AND m.user_no =
  t.assignee WHERE t.tenant_id = ? AND t.closed_at IS NULL;
SELECT t.plan, (SELECT count(*) FROM members m WHERE m.tenant_id = t.id) AS n FROM tenants t WHERE t.id
  = ?;
SELECT id FROM tenants t WHERE id = ? AND EXISTS(SELECT 1 FROM tickets k WHERE k.tenant_id = t.id AND
  k.closed_at IS NULL);
SELECT id FROM tenants t WHERE id = ? AND NOT EXISTS(SELECT 1 FROM tickets k WHERE k.tenant_id = t.id);
SELECT count(*) FROM tickets WHERE tenant_id = ? AND closed_at IS NULL;
SELECT min(created_at), max(created_at) FROM tickets WHERE tenant_id = ?;
INSERT INTO tenants VALUES(?,?,?);
INSERT INTO members(tenant_id,user_no,email) VALUES(?,?,?) ON CONFLICT(tenant_id,user_no) DO UPDATE SET
  email=excluded.email;
INSERT INTO tickets(tenant_id,state,priority,title,created_at) VALUES(?,?,?,?,?) RETURNING id;
INSERT INTO audit(ticket_id,what,at) SELECT id, state, 0 FROM tickets WHERE id = ?;
UPDATE tickets SET state = 'closed', closed_at = ? WHERE id = ?;
UPDATE members SET role = ? WHERE tenant_id = ? AND user_no = ?;
UPDATE members SET role = ? WHERE tenant_id = ? AND email = ? RETURNING user_no;
DELETE FROM audit WHERE ticket_id = ?;
DELETE FROM tickets WHERE id = ?;
DELETE FROM notes WHERE rowid = ?;
INSERT INTO notes(title, body) VALUES (?, ?);
WITH mine AS (SELECT id FROM tickets WHERE tenant_id = ? AND closed_at IS NULL) SELECT a.what FROM mine
  JOIN audit a ON a.ticket_id = mine.id;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 10) SELECT i FROM n;
SELECT id, row_number() OVER (ORDER BY created_at DESC) FROM tickets WHERE tenant_id = ? ORDER BY
  created_at DESC LIMIT 5;
SELECT 1 WHERE EXISTS (SELECT 1 FROM members WHERE tenant_id = ? AND user_no = ?);
VALUES (1), (2);
SELECT value FROM json_each(?);
SELECT d.id FROM json_each(?) j JOIN docs d ON d.id = j.value;
SELECT id FROM tickets WHERE id IN (SELECT value FROM json_each(?));
SELECT id FROM tickets WHERE rowid = ?;
SELECT id FROM tickets WHERE _rowid_ BETWEEN 5 AND 10;
SELECT id FROM tickets WHERE +id = 5 AND id > 3 AND id < 9;
SELECT count(*) FROM tenants;
SELECT id FROM tenants ORDER BY id LIMIT 10;
SELECT id FROM tickets ORDER BY id DESC LIMIT 1;
SELECT t.id FROM tickets AS t WHERE t.tenant_id = :tenant AND t.created_at BETWEEN :a AND :b;
SELECT id FROM tickets WHERE tenant_id = @t AND closed_at IS NULL AND priority IN (1, 2)
"""
)
HEALTHY_EVENTS = statements(
    """
SELECT id FROM posts WHERE author = ? AND body LIKE '%x';
SELECT id FROM posts WHERE author = 5 AND date(at) = '2024-01-05' AND length(body) > 3;
SELECT id FROM events WHERE stream = ? AND lower(kind) = 'k1';
SELECT id FROM posts WHERE likes > 50 AND body LIKE '%x' ORDER BY likes DESC LIMIT 3;
SELECT version, payload FROM events WHERE stream = ? ORDER BY version;
SELECT version, payload FROM events WHERE stream = ? AND version > ? ORDER BY version LIMIT 100;
SELECT max(version) FROM events WHERE stream = ?;
SELECT coalesce(max(version), 0) + 1 FROM events WHERE stream = ?;
SELECT id, kind FROM events WHERE id > ? ORDER BY id LIMIT 500;
SELECT id FROM events WHERE at >= '2024-02-03' AND at < '2024-02-04';
SELECT id FROM events WHERE at LIKE '2024-02-03%' AND at >= '2024-02-03' AND at < '2024-02-04';
SELECT id FROM events WHERE at GLOB '2024-02-03*';
SELECT id FROM events WHERE kind = 'k1' ORDER BY at DESC LIMIT 10;
SELECT count(*) FROM events WHERE kind = ? AND at > ?;
SELECT kind, count(*) FROM events GROUP BY kind;
SELECT kind, max(at) FROM events GROUP BY kind ORDER BY kind;
SELECT DISTINCT kind FROM events ORDER BY kind;
SELECT count(DISTINCT stream) FROM events;
SELECT id FROM nodes WHERE handle = 'H5';
SELECT id FROM nodes WHERE handle = ? COLLATE NOCASE;
SELECT id FROM nodes WHERE handle LIKE 'h5%';
SELECT handle FROM nodes WHERE id IN (SELECT dst FROM edges WHERE src = ?);
SELECT n.handle FROM edges e JOIN nodes n ON n.id = e.dst WHERE e.src = ?;
SELECT n.handle FROM edges e JOIN nodes n ON n.id = e.src WHERE e.dst = ?;
SELECT count(*) FROM edges WHERE dst = ?;
SELECT 1 FROM edges WHERE src = ? AND dst = ?;
SELECT e2.dst FROM edges e1 JOIN edges e2 ON e2.src = e1.dst WHERE e1.src = ? LIMIT 100;
SELECT e.dst FROM edges e WHERE e.src = ? AND NOT EXISTS (SELECT 1 FROM edges f WHERE f.src = e.dst AND
  f.dst = e.src);
SELECT dst FROM edges WHERE src = ? INTERSECT SELECT dst FROM edges WHERE src = ?;
SELECT dst FROM edges WHERE src = ? EXCEPT SELECT src FROM edges WHERE dst = ?;
SELECT id, body FROM posts WHERE author = ? ORDER BY at DESC LIMIT 20;
SELECT p.id, p.body, n.handle FROM posts p JOIN nodes n ON n.id = p.author WHERE p.id = ?;
SELECT id FROM posts WHERE likes > 50 ORDER BY likes DESC LIMIT 10;
SELECT p.id FROM edges e CROSS JOIN posts p ON p.author = e.dst WHERE e.src = ? AND p.at > ?;
WITH RECURSIVE reach(id, d) AS (SELECT ?, 0 UNION SELECT e.dst, d + 1 FROM reach r JOIN edges e ON e.src
  = r.id WHERE d < 2) SELECT count(*) FROM reach;
SELECT ts, v FROM samples WHERE series = ? AND ts BETWEEN ? AND ?;
SELECT ts, v FROM samples WHERE series = ? ORDER BY ts DESC LIMIT 1;
SELECT ts / 60 * 60 AS bucket, avg(v) FROM samples WHERE series = ? AND ts >= ? AND ts < ? GROUP BY
  bucket;
SELECT s.metric, x.v FROM series s JOIN samples x ON x.series = s.id WHERE s.host = ? AND s.metric = ?
  AND x.ts > ?;
SELECT min(ts), max(ts), avg(v) FROM samples WHERE series = 5;
SELECT series, count(*) FROM samples GROUP BY series;
SELECT id FROM series WHERE host = 'h1' AND metric = 'm1';
SELECT total FROM carts WHERE id = ?;
SELECT total FROM carts WHERE id = x'00';
SELECT total FROM carts WHERE owner = 5;
SELECT total FROM carts WHERE updated > '2024-01-01 00:00:50';
SELECT total FROM carts WHERE owner = 5 OR updated = '2024-01-01 00:00:01';
SELECT b FROM loose WHERE a = 5;
SELECT b FROM loose WHERE a = '5';
SELECT b FROM loose WHERE a IS NULL;
SELECT b FROM loose WHERE a IN (1, '2');
SELECT b FROM loose WHERE rowid = 5;
SELECT oid FROM loose WHERE oid IN (1,2,3);
UPDATE posts SET likes = likes + 1 WHERE id = ?;
UPDATE nodes SET bio = ? WHERE handle = ?;
DELETE FROM edges WHERE src = ? AND dst = ?;
DELETE FROM samples WHERE series = ? AND ts < ?;
INSERT OR IGNORE INTO edges VALUES (?, ?, ?, ?);
INSERT INTO events(stream, version, kind, at) SELECT ?, coalesce(max(version), -1) + 1, ?, ? FROM events
  WHERE stream = ?;
INSERT INTO carts VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;
REPLACE INTO series VALUES (?, ?, ?);
UPDATE samples SET v = 0 WHERE (series, ts) = (?, ?);
UPDATE posts SET likes = (SELECT count(*) FROM edges WHERE dst = posts.author) WHERE id = ?;
UPDATE posts AS p SET body = n.bio FROM nodes n WHERE n.id = p.author AND p.id = ?;
SELECT id FROM posts WHERE author IN (?, ?) AND at > '2024-01-20';
SELECT id FROM posts WHERE author = 1 AND at >= date('now', '-7 days');
SELECT id FROM events WHERE at > datetime('now', '-1 hour');
SELECT id FROM events WHERE at BETWEEN date('2024-01-01') AND date('2024-01-01', '+1 day');
SELECT id FROM events WHERE stream = 's' || ? AND version = 1 + 1;
SELECT id FROM events WHERE stream = upper(?) AND version = abs(-1);
SELECT e.id FROM events e WHERE e.kind = 'k1' AND e.at = (SELECT max(at) FROM events f WHERE f.kind =
  e.kind);
SELECT id FROM events WHERE id = (SELECT max(id) FROM events);
SELECT count(*), count(CASE WHEN likes > 5 THEN 1 END) FROM posts WHERE author = ?;
SELECT count(*) > 0 FROM posts WHERE author = ?;
SELECT id, at FROM posts WHERE author = ? UNION ALL SELECT id, at FROM posts WHERE author = ? LIMIT 10;
SELECT n.handle, (SELECT max(at) FROM posts p WHERE p.author = n.id) FROM nodes n WHERE n.handle = ?;
SELECT n.handle, count(*) FROM edges e JOIN nodes n ON n.id = e.dst WHERE e.src = ? GROUP BY n.id;
SELECT id FROM nodes WHERE id = ? AND bio IS NOT NULL;
SELECT id FROM nodes WHERE (id = ? OR handle = ?);
SELECT author, at, lag(at) OVER w FROM posts WHERE author = ? WINDOW w AS (PARTITION BY author ORDER BY
  at DESC);
SELECT sum(likes) FILTER (WHERE at > '2024-01-05') FROM posts WHERE author = 5;
SELECT group_concat(body, ',') FROM posts WHERE author = 5 AND at > ?;
SELECT id FROM posts INDEXED BY posts_author WHERE author = ?;
SELECT id FROM posts NOT INDEXED WHERE id = ?;
SELECT (SELECT handle FROM nodes WHERE id = 1), (SELECT handle FROM nodes WHERE id = 2);
SELECT id FROM nodes WHERE handle IS 'h5';
SELECT id FROM posts WHERE author = ?1 AND at > ?2 AND at < ?2;
SELECT name FROM sqlite_master WHERE type = 'table';
SELECT name FROM pragma_table_info('posts')
"""
)
ILL_TENANTS = with_findings(
    """
full-scan: SELECT id FROM tickets WHERE state = 'open';
missing-index: SELECT id FROM tickets WHERE state = 'open' AND priority = 1;
function-on-column: SELECT id FROM tickets WHERE lower(title) = 'x';
implicit-cast: SELECT id FROM tickets WHERE tenant_id = 5;
implicit-cast: SELECT plan FROM tenants WHERE id = 7;
collation-mismatch: SELECT user_no FROM members WHERE tenant_id = ? AND email = 'x' COLLATE BINARY;
leading-wildcard-like: SELECT user_no FROM members WHERE email LIKE '%@x.io';
leading-wildcard-like: SELECT id FROM tickets WHERE title LIKE '%foo%' ESCAPE '!';
function-on-column: SELECT id FROM tickets WHERE instr(title, 'x') > 0;
function-on-column: SELECT id FROM tickets WHERE datetime(created_at,'unixepoch') >= '2024-01-01';
function-on-column: SELECT id FROM tickets WHERE created_at / 86400 = 19000;
function-on-column: SELECT id FROM tickets WHERE ifnull(closed_at, 0) = 0;
function-on-column: SELECT id FROM docs WHERE json_extract(meta,'$.size') = 5;
function-on-column: SELECT id FROM docs WHERE meta ->> '$.size' = 5;
missing-index: SELECT "group" FROM "order" WHERE "select" = 's1';
or-on-columns: SELECT "group" FROM "order" WHERE "select" = 's1' OR "naïve ключ" = 'k1';
not-in-null: SELECT assignee FROM tickets WHERE assignee NOT IN (SELECT deleted_at FROM members);
not-in-null: SELECT id FROM tickets WHERE assignee NOT IN (SELECT m.deleted_at FROM members AS m WHERE
  m.tenant_id = 't1');
not-in-null: SELECT id FROM tickets WHERE NOT (assignee IN (SELECT deleted_at FROM members));
not-in-null: SELECT id FROM tickets WHERE NOT assignee IN (SELECT deleted_at FROM members);
not-in-null: SELECT id FROM tickets WHERE id NOT IN (SELECT max(deleted_at) FROM members GROUP BY
  tenant_id);
random-order: SELECT id FROM tickets ORDER BY random() LIMIT 1;
random-order: SELECT id FROM tickets ORDER BY abs(random()) LIMIT 1;
offset-paging: SELECT id FROM tickets WHERE tenant_id=? ORDER BY created_at DESC LIMIT 20 OFFSET 20000;
offset-paging: SELECT id FROM tickets WHERE tenant_id=? ORDER BY created_at DESC LIMIT 20 OFFSET :o;
offset-paging: SELECT id FROM tickets WHERE tenant_id=? ORDER BY created_at DESC LIMIT 20 OFFSET 20 *
  500;
distinct-fan-out: SELECT DISTINCT t.id FROM tickets t JOIN audit a ON a.ticket_id = t.id;
distinct-fan-out: SELECT DISTINCT m.tenant_id, m.user_no FROM members m JOIN tickets t ON t.tenant_id =
  m.tenant_id AND t.assignee = m.user_no;
distinct-fan-out: SELECT DISTINCT t.* FROM tickets t JOIN audit a ON a.ticket_id = t.id;
distinct-fan-out: SELECT DISTINCT t.id AS x, t.title FROM tickets t, audit a WHERE a.ticket_id = t.id;
count-for-existence: SELECT id FROM tenants t WHERE (SELECT count(*) FROM tickets k WHERE k.tenant_id =
  t.id) > 0;
count-for-existence: SELECT id FROM tenants t WHERE 0 < (SELECT count(*) FROM tickets k WHERE
  k.tenant_id = t.id);
count-for-existence: SELECT id FROM tenants t WHERE (SELECT count(1) FROM tickets k WHERE k.tenant_id =
  t.id) != 0;
count-for-existence: SELECT id FROM tenants t WHERE (SELECT count(*) FROM tickets k WHERE k.tenant_id =
  t.id) = 0;
count-for-existence: SELECT (SELECT count(*) FROM tickets WHERE state='open') > 0;
count-for-existence: SELECT CASE WHEN (SELECT count(*) FROM tickets WHERE state='open') > 0 THEN 1 END;
missing-where: DELETE FROM audit;
missing-where: UPDATE tickets SET state='x';
missing-where: UPDATE tickets SET state='x' RETURNING id;
missing-where: UPDATE OR IGNORE tickets SET state='x';
select-star: SELECT * FROM tickets WHERE id = 1;
select-star: SELECT t.*, a.what FROM tickets t JOIN audit a ON a.ticket_id=t.id WHERE t.id=1;
correlated-subquery: SELECT id, (SELECT count(*) FROM audit WHERE what = t.title) FROM tickets t WHERE
  tenant_id='t1';
correlated-subquery: SELECT id FROM tickets t WHERE NOT EXISTS (SELECT 1 FROM members m WHERE
  m.deleted_at = t.id);
auto-index: SELECT t.id FROM tickets t JOIN docs d ON d.meta = t.body;
auto-index: SELECT t.id FROM tickets t LEFT JOIN audit a ON a.what = t.state;
temp-b-tree: SELECT state, count(*) FROM tickets GROUP BY state;
temp-b-tree: SELECT id FROM tickets WHERE tenant_id = ? ORDER BY title;
temp-b-tree: SELECT DISTINCT body FROM tickets;
temp-b-tree: SELECT state FROM tickets UNION SELECT what FROM audit;
temp-b-tree: SELECT id FROM tickets WHERE tenant_id=? ORDER BY upper(title);
temp-b-tree: SELECT id, rank() OVER (PARTITION BY state ORDER BY priority) FROM tickets;
full-scan: UPDATE tickets SET state = 'x' WHERE state = 'y';
missing-index: DELETE FROM audit WHERE what = 'x';
missing-index: UPDATE audit SET what = 'z' WHERE ticket_id IN (SELECT id FROM tickets WHERE state =
  'gone');
missing-index: INSERT INTO audit(ticket_id,what,at) SELECT id,state,0 FROM tickets WHERE state = 'open';
full-scan: WITH a AS (SELECT * FROM tickets) SELECT id FROM a WHERE state = 'x';
missing-index: SELECT id FROM open_tickets WHERE title = 'x';
missing-index: SELECT id FROM tickets WHERE (state, priority) = ('x', 1);
missing-index: SELECT id FROM tickets WHERE state IN ('a','b');
missing-index: SELECT id FROM tickets WHERE state IS 'a';
missing-index: SELECT id FROM tickets WHERE state == 'a';
full-scan: SELECT id FROM tickets WHERE assignee IS NULL AND state = ?;
missing-index: SELECT id FROM tickets WHERE 'x' = state;
full-scan: SELECT id FROM tickets WHERE priority NOT IN (1,2);
full-scan: SELECT id FROM tickets WHERE state <> 'closed';
function-on-column: SELECT id FROM tickets WHERE CAST(created_at AS TEXT) = '5';
function-on-column: SELECT id FROM tickets WHERE -priority < 3;
full-scan: SELECT id FROM tickets WHERE title COLLATE NOCASE = 'x';
function-on-column: SELECT id FROM tickets WHERE substr(title,1,3) = 'abc';
function-on-column: SELECT id FROM tickets WHERE length(title) > 3;
full-scan: SELECT id FROM tickets WHERE title REGEXP '^x';
full-scan: SELECT rowid FROM notes WHERE title = 'x';
leading-wildcard-like: SELECT rowid FROM notes WHERE body LIKE '%x%'
"""
)
ILL_EVENTS = with_findings(
    """
full-scan: SELECT id FROM events WHERE payload = x'00';
missing-index: SELECT id FROM events WHERE version = 3;
function-on-column: SELECT id FROM events WHERE substr(at,1,10) = '2024-01-01';
function-on-column: SELECT id FROM events WHERE date(at) BETWEEN '2024-01-01' AND '2024-01-02';
leading-wildcard-like: SELECT id FROM events WHERE at LIKE '%T05%';
full-scan: SELECT id FROM events WHERE at LIKE '2024-02-03%';
function-on-column: SELECT handle FROM nodes WHERE lower(handle) = 'h5';
collation-mismatch: SELECT handle FROM nodes WHERE handle = 'h5' COLLATE BINARY;
missing-index: SELECT dst FROM edges WHERE since = '2020';
function-on-column: SELECT src FROM edges WHERE dst + 0 = 5;
not-in-null: SELECT n.id FROM nodes n WHERE n.id NOT IN (SELECT owner FROM carts);
not-in-null: SELECT total FROM carts WHERE owner NOT IN (SELECT a FROM loose WHERE b > 3);
implicit-cast: SELECT total FROM carts WHERE owner = '5';
implicit-cast: SELECT id FROM nodes WHERE handle = 5;
full-scan: SELECT ts FROM samples WHERE v > 5;
missing-index: SELECT v FROM samples WHERE ts BETWEEN 1 AND 2;
temp-b-tree: SELECT ts FROM samples WHERE series = 5 ORDER BY v DESC LIMIT 1;
auto-index: SELECT x.a FROM loose x JOIN loose y ON x.b = y.c;
offset-paging: SELECT id FROM posts ORDER BY at LIMIT 10 OFFSET 3000;
or-on-columns: SELECT id FROM posts WHERE body = 'x' OR likes = 3;
or-on-columns: SELECT id FROM posts WHERE author = 4 OR body = 'x';
or-on-columns: SELECT id FROM posts WHERE (body = 'x') OR (likes = 3);
or-on-columns: SELECT id FROM posts p WHERE p.body = 'x' OR p.at = 'z' OR p.likes = 3;
or-on-columns: SELECT id FROM posts WHERE body IN ('a','b') OR likes > 99;
distinct-fan-out: SELECT DISTINCT n.id, n.handle FROM nodes n LEFT JOIN posts p ON p.author = n.id;
count-for-existence: SELECT id FROM nodes n WHERE (SELECT count(*) FROM posts p WHERE p.author = n.id)
  >= 1 AND handle = 'h1';
correlated-subquery: SELECT id FROM nodes n WHERE EXISTS (SELECT * FROM posts p WHERE p.body = n.bio);
temp-b-tree: SELECT handle FROM nodes ORDER BY joined;
missing-where: SELECT bio FROM nodes;
missing-where: DELETE FROM posts;
select-star: SELECT * FROM posts p, nodes n WHERE n.id = p.author;
random-order: SELECT id FROM posts ORDER BY random() LIMIT 5;
function-on-column: SELECT id FROM events WHERE kind||'' = 'k1';
function-on-column: SELECT id FROM events WHERE trim(kind) = 'k1';
function-on-column: SELECT id FROM events WHERE abs(version) IN (1,2);
function-on-column: SELECT id FROM events WHERE version % 2 = 0;
full-scan: SELECT id FROM events WHERE version & 1;
function-on-column: SELECT id FROM events WHERE nullif(kind,'') = 'k1';
full-scan: SELECT id FROM events WHERE CASE WHEN kind='k1' THEN 1 ELSE 0 END = 1;
implicit-cast: SELECT id FROM events WHERE kind BETWEEN 1 AND 2;
implicit-cast: UPDATE posts SET likes = 0 WHERE author = 'bob';
function-on-column: DELETE FROM events WHERE lower(kind) = 'k1';
missing-index: DELETE FROM nodes WHERE bio = 'x'
"""
)


def fill(path: Path, schema: str, rows: dict[str, Iterator[tuple[object, ...]]]) -> QueryAnalyzer:
    connection = sqlite3.connect(path)
    connection.executescript(schema)
    for insert, values in rows.items():
        connection.executemany(f"INSERT OR IGNORE INTO {insert}", values)
    connection.execute("ANALYZE")
    connection.commit()
    connection.close()
    return QueryAnalyzer(path)


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> QueryAnalyzer:
    return fill(
        tmp_path_factory.mktemp("findings") / "tenants.db",
        TENANTS,
        {
            "tenants VALUES (?, 'free', ?)": ((f"t{i:04d}", i) for i in range(400)),
            "members VALUES (?, ?, ?, 'viewer', ?)": (
                (f"t{i % 400:04d}", i // 400, f"U{i}@x.io", None if i % 10 else i) for i in range(8000)
            ),
            "tickets (tenant_id, assignee, state, priority, title, body, created_at, closed_at)"
            " VALUES (?, ?, ?, ?, ?, 'body', ?, ?)": (
                (
                    f"t{i % 400:04d}",
                    i % 20,
                    "open" if i % 9 == 0 else "closed",
                    i % 5,
                    f"Ticket {i}",
                    1_600_000_000 + i * 60,
                    None if i % 9 == 0 else i,
                )
                for i in range(12_000)
            ),
            '"order" VALUES (?, ?, ?)': ((i, f"s{i}", f"k{i % 1000}") for i in range(3000)),
            "audit (ticket_id, what, at) VALUES (?, 'x', ?)": ((i % 12_000 + 1, i) for i in range(9000)),
            "notes VALUES (?, ?)": ((f"note {i}", f"body text {i}") for i in range(1000)),
            "docs (id, meta) VALUES (?, ?)": (
                (i, f'{{"kind":"k{i % 30}","owner":{i % 500},"size":{i}}}') for i in range(4000)
            ),
        },
    )


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> QueryAnalyzer:
    return fill(
        tmp_path_factory.mktemp("findings") / "events.db",
        EVENTS,
        {
            "events (stream, version, kind, at, payload) VALUES (?, ?, ?, ?, x'0102')": (
                (
                    f"s{i % 1500}",
                    i // 1500,
                    f"k{i % 40}",
                    f"2024-{i % 12 + 1:02}-{i % 28 + 1:02}T{i % 24:02}:00:00",
                )
                for i in range(15_000)
            ),
            "nodes VALUES (?, ?, '2020-01-01', NULL)": ((i, f"h{i}") for i in range(1, 3001)),
            "edges VALUES (?, ?, '2020', 1.0)": ((i % 3000 + 1, i * 7919 % 3000 + 1) for i in range(15_000)),
            "posts (author, at, body, likes) VALUES (?, ?, 'b', ?)": (
                (i % 3000 + 1, f"2024-01-{i % 28 + 1:02}", i % 7 if i % 10 else i % 100)
                for i in range(12_000)
            ),
            "samples VALUES (?, ?, ?)": ((i % 100, i // 100 * 10, float(i)) for i in range(20_000)),
            "series VALUES (?, ?, ?)": ((i, f"h{i // 4}", f"m{i % 4}") for i in range(100)),
            "carts VALUES (?, ?, ?, ?)": (
                (i.to_bytes(16, "big"), i % 2000, i / 100, f"2024-01-01 00:00:{i % 60:02d}")
                for i in range(6000)
            ),
            "loose VALUES (?, ?, NULL)": ((i if i % 2 else str(i), i) for i in range(6000)),
        },
    )


def grave(analyzer: QueryAnalyzer, sql: str) -> list[str]:
    """What is more than worth knowing, and the indexes that are proposed."""
    report = analyzer.analyze(sql)
    found = [f"{issue.code}: {issue.message}" for issue in report.issues if issue.severity != "info"]
    return found + [index.ddl for index in report.indexes]


@pytest.mark.parametrize("sql", HEALTHY_TENANTS)
def test_nothing_is_found_on_what_is_well_of_tenants(tenants: QueryAnalyzer, sql: str) -> None:
    assert grave(tenants, sql) == []


@pytest.mark.parametrize("sql", HEALTHY_EVENTS)
def test_nothing_is_found_on_what_is_well_of_events(events: QueryAnalyzer, sql: str) -> None:
    assert grave(events, sql) == []


@pytest.mark.parametrize(("sql", "code"), ILL_TENANTS)
def test_what_is_ill_of_tenants_has_its_finding(tenants: QueryAnalyzer, sql: str, code: str) -> None:
    assert code in {issue.code for issue in tenants.analyze(sql).issues}


@pytest.mark.parametrize(("sql", "code"), ILL_EVENTS)
def test_what_is_ill_of_events_has_its_finding(events: QueryAnalyzer, sql: str, code: str) -> None:
    assert code in {issue.code for issue in events.analyze(sql).issues}


def test_the_rows_of_a_table_are_not_those_of_its_partial_index(events: QueryAnalyzer) -> None:
    (scan,) = events.analyze("SELECT id FROM posts WHERE body = 'x'").plan
    assert scan.rows == 12_000


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT body FROM posts WHERE id = ?", 1),
        ("SELECT handle FROM nodes WHERE handle = ?", 1),
        ("SELECT v FROM samples WHERE series = ?", 200),
        ("SELECT v FROM samples WHERE series = ? AND ts = ?", 1),
        ("SELECT id FROM events WHERE stream = ?", 10),
        ("SELECT v FROM samples WHERE series > ?", None),
    ],
)
def test_a_step_says_how_many_rows_it_goes_over(events: QueryAnalyzer, sql: str, rows: float | None) -> None:
    (step,) = events.analyze(sql).plan
    assert step.rows == rows
