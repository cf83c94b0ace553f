missing-index: SELECT id FROM ticket WHERE title = ?
missing-index: SELECT id FROM ticket WHERE state = 'waiting' AND priority = 1
missing-index: SELECT id FROM ticket WHERE reporter = ?
missing-index: SELECT id FROM agent WHERE login = 'agent7'
missing-index: SELECT seq FROM audit WHERE ref = ?
missing-index: DELETE FROM audit WHERE at < ?
missing-index: SELECT id FROM comment WHERE at > ? ORDER BY at
missing-index: SELECT t.id FROM ticket t JOIN agent a ON a.id = t.assignee WHERE a.login = ?
missing-index: SELECT id FROM backlog WHERE priority = 5 AND title = ?
missing-index: SELECT t.id FROM ticket_fts f JOIN ticket t ON t.title = f.title WHERE ticket_fts MATCH 'w7'
missing-index: WITH x AS (SELECT * FROM ticket WHERE reporter = ?) SELECT id FROM x
missing-index: INSERT INTO ticket_tag SELECT id, 'tag1' FROM ticket WHERE reporter = ?
full-scan: SELECT id FROM ticket WHERE state <> 'closed'
full-scan: SELECT id FROM ticket WHERE priority + 0 = 3
function-on-column: SELECT id FROM ticket WHERE date(closed, 'unixepoch') = '2024-01-05'
function-on-column: SELECT id FROM ticket WHERE upper(reporter) = 'X'
function-on-column: SELECT id FROM ticket WHERE json_extract(meta, '$.src') = 'mail'
function-on-column: SELECT id FROM ticket WHERE meta ->> '$.n' = 7
function-on-column: SELECT id FROM comment WHERE length(body) > 100
function-on-column: SELECT id FROM ticket WHERE abs(priority) = 3
function-on-column: DELETE FROM audit WHERE at + 86400 < ?
leading-wildcard-like: SELECT id FROM comment WHERE body LIKE '%refund%'
leading-wildcard-like: SELECT id FROM ticket WHERE title LIKE '_icket%'
implicit-cast: SELECT id FROM ticket WHERE title = 7
implicit-cast: SELECT id FROM ticket WHERE priority = 'high'
implicit-cast: SELECT t.id FROM ticket t JOIN comment c ON c.body = t.id
collation-mismatch: SELECT id FROM org WHERE slug = 'Org7' COLLATE BINARY
not-in-null: SELECT id FROM agent WHERE id NOT IN (SELECT assignee FROM ticket)
not-in-null: SELECT id FROM agent WHERE id NOT IN (SELECT author FROM comment WHERE at > ?)
not-in-null: SELECT a.id FROM agent a WHERE NOT (a.id IN (SELECT assignee FROM ticket WHERE org = 7))
offset-paging: SELECT id FROM ticket WHERE org = ? ORDER BY opened LIMIT 50 OFFSET ?
offset-paging: SELECT id FROM comment ORDER BY id LIMIT 100 OFFSET 40000
or-on-columns: SELECT id FROM ticket WHERE title = 'a' OR reporter = 'b'
count-for-existence: SELECT id FROM ticket t WHERE t.org = ? AND (SELECT count(*) FROM comment c WHERE c.ticket = t.id) = 0
distinct-fan-out: SELECT DISTINCT t.id, t.title FROM ticket t JOIN ticket_tag g ON g.ticket = t.id WHERE t.org = ?
correlated-subquery: SELECT id FROM agent a WHERE EXISTS (SELECT 1 FROM audit u WHERE u.at = a.id)
auto-index: SELECT a.seq FROM audit a JOIN ticket t ON t.title = a.kind
temp-b-tree: SELECT reporter, count(*) FROM ticket GROUP BY reporter
random-order: SELECT id FROM ticket WHERE org = ? ORDER BY random() LIMIT 1
missing-where: UPDATE ticket SET priority = 3
missing-where: DELETE FROM comment
select-star: SELECT * FROM backlog WHERE id = ?
