SELECT id, title FROM ticket WHERE org = ? AND number = ?
SELECT id, title, priority FROM ticket WHERE org = ? AND state = 'open' ORDER BY priority DESC, opened LIMIT 50
SELECT id, title FROM ticket WHERE org = ? AND state IN ('open', 'waiting')
SELECT id FROM ticket WHERE assignee = ? AND state = 'open'
SELECT id, opened FROM ticket WHERE org = ? AND closed IS NULL ORDER BY opened
SELECT count(*) FROM ticket WHERE org = ? AND closed IS NULL
SELECT id FROM ticket WHERE day = '2024-01-05'
SELECT id FROM ticket WHERE day BETWEEN '2024-01-05' AND '2024-01-06'
SELECT id FROM ticket WHERE lower(reporter) = 'user7@x.example'
SELECT id, body, at FROM comment WHERE ticket = ? ORDER BY at
SELECT c.body, a.login FROM comment c LEFT JOIN agent a ON a.id = c.author WHERE c.ticket = ? ORDER BY c.at
SELECT tag FROM ticket_tag WHERE ticket = ?
SELECT t.id, t.title FROM ticket_tag g JOIN ticket t ON t.id = g.ticket WHERE g.tag = 'tag299'
SELECT ticket FROM ticket_tag WHERE tag = ? AND ticket > ? ORDER BY ticket LIMIT 50
SELECT id, slug FROM org WHERE slug = 'ORG7'
SELECT id FROM agent WHERE org = ? AND login = ?
SELECT id, login FROM agent WHERE org = ? AND active = 1
SELECT id, title, login FROM backlog WHERE org = ?
SELECT id, title FROM backlog WHERE id = ?
SELECT rowid, title FROM ticket_fts WHERE ticket_fts MATCH 'w7'
SELECT t.id, t.state FROM ticket_fts f JOIN ticket t ON t.id = f.rowid WHERE ticket_fts MATCH ? AND t.org = ?
SELECT snippet(ticket_fts, 1, '<', '>', '...', 8) FROM ticket_fts WHERE ticket_fts MATCH ? ORDER BY bm25(ticket_fts) LIMIT 10
INSERT INTO ticket(org, number, title, state, priority, reporter, opened) VALUES (?, ?, ?, 'open', 3, ?, ?)
UPDATE ticket SET state = 'closed', closed = ? WHERE id = ?
UPDATE ticket SET assignee = ? WHERE org = ? AND number = ?
DELETE FROM ticket WHERE id = ?
DELETE FROM comment WHERE id = ?
DELETE FROM comment WHERE ticket = ? AND at < ?
INSERT INTO ticket_tag(ticket, tag) SELECT id, 'tag1' FROM ticket WHERE org = ? AND number = ?
INSERT OR IGNORE INTO ticket_tag VALUES (?, ?)
SELECT at FROM audit WHERE kind = 'closed' AND ref = ?
SELECT seq, kind FROM audit WHERE seq > ? ORDER BY seq LIMIT 100
SELECT seq FROM audit ORDER BY seq DESC LIMIT 1
SELECT state, count(*) FROM ticket WHERE org = ? GROUP BY state
SELECT priority, count(*) FROM ticket WHERE org = ? AND state = 'open' GROUP BY priority
SELECT t.id FROM ticket t WHERE t.org = ? AND t.state = 'open' AND EXISTS (SELECT 1 FROM comment c WHERE c.ticket = t.id AND c.at > ?)
SELECT t.id, (SELECT count(*) FROM comment c WHERE c.ticket = t.id) AS n FROM ticket t WHERE t.org = ? AND t.number = ?
SELECT t.id, n FROM ticket t JOIN (SELECT ticket, count(*) AS n FROM comment WHERE ticket = ?1 GROUP BY ticket) k ON k.ticket = t.id
SELECT t.id FROM ticket t WHERE t.id IN (SELECT ticket FROM ticket_tag WHERE tag = ?) AND t.org = ?
WITH mine AS (SELECT id FROM ticket WHERE assignee = ? AND state = 'open') SELECT c.id FROM comment c JOIN mine ON mine.id = c.ticket
SELECT id, row_number() OVER (PARTITION BY state ORDER BY opened) FROM ticket WHERE org = ? AND state = 'open'
SELECT id FROM ticket WHERE id BETWEEN ? AND ?
SELECT id FROM ticket WHERE (org, number) = (?, ?)
SELECT number FROM ticket WHERE org = ? ORDER BY number DESC LIMIT 1
SELECT coalesce(max(number), 0) + 1 FROM ticket WHERE org = ?
SELECT id FROM agent WHERE id = ? AND active
SELECT json_extract(meta, '$.src') FROM ticket WHERE id = ?
SELECT name, colour FROM tag ORDER BY name
SELECT name FROM tag WHERE name LIKE 'tag1%'
SELECT name FROM tag WHERE name >= 'tag1' AND name < 'tag2'
SELECT plan, count(*) FROM org GROUP BY plan
UPDATE org SET plan = 'pro' WHERE slug = ?
DELETE FROM ticket_tag WHERE ticket = ? AND tag = ?
SELECT a.login, count(t.id) FROM agent a LEFT JOIN ticket t ON t.assignee = a.id AND t.state = 'open' WHERE a.org = ? GROUP BY a.id
SELECT id FROM ticket WHERE org = ? AND state = 'open' AND priority = 5 AND opened > ?
SELECT id FROM ticket WHERE org = ? AND state = 'open' AND id NOT IN (SELECT ticket FROM ticket_tag WHERE tag = 'tag7')
SELECT t1.id FROM ticket t1 JOIN ticket t2 ON t2.org = t1.org AND t2.number = t1.number + 1 WHERE t1.id = ?
SELECT id FROM comment WHERE author = ? ORDER BY id DESC LIMIT 20
SELECT o.slug, t.number FROM ticket t JOIN org o ON o.id = t.org WHERE t.id IN (?, ?)
SELECT group_concat(tag, ', ') FROM ticket_tag WHERE ticket = ?
INSERT INTO audit(kind, ref, at) VALUES ('mail', ?, unixepoch())
UPDATE comment SET author = NULL WHERE author = ?
SELECT CASE WHEN closed IS NULL THEN 'open' ELSE 'done' END FROM ticket WHERE id = ?
SELECT id FROM ticket WHERE org = ? AND state = ? ORDER BY priority DESC LIMIT 10
SELECT id FROM ticket WHERE assignee IS NULL AND state = 'waiting' LIMIT 20
SELECT t.id FROM ticket AS t WHERE t.org = (SELECT id FROM org WHERE slug = ?) AND t.number = ?
