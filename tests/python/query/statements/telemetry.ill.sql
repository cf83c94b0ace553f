missing-index: SELECT device, value FROM reading WHERE metric = 'temp' AND value > 45
missing-index: SELECT id FROM device WHERE firmware = 'v7'
missing-index: SELECT id FROM alarm WHERE rule = 'rule7'
missing-index: SELECT id FROM alarm WHERE cleared > ?
missing-index: UPDATE event SET code = 1 WHERE at < ?
missing-index: SELECT id FROM event WHERE at BETWEEN ? AND ?
missing-index: SELECT d.id FROM device d JOIN alarm a ON a.device = d.id WHERE a.rule = 'rule3' AND d.firmware = 'v1'
missing-index: DELETE FROM hourly WHERE hour < ?
missing-index: SELECT device FROM hourly WHERE hi > 100
function-on-column: SELECT id FROM event WHERE json_extract(payload, '$.user') = 'u7'
function-on-column: SELECT id FROM event WHERE at / 86400 = 19700
function-on-column: SELECT count(*) FROM reading WHERE datetime(at, 'unixepoch') > '2024-01-01'
function-on-column: SELECT id FROM event WHERE CAST(code AS TEXT) = '404'
function-on-column: SELECT device FROM reading WHERE round(value) = 20
function-on-column: SELECT id FROM event WHERE -at < -1700000000
leading-wildcard-like: SELECT id FROM event WHERE payload LIKE '%"user":"u7"%'
implicit-cast: SELECT id FROM device WHERE serial = 7
implicit-cast: SELECT id FROM event WHERE code = 'x404'
not-in-null: SELECT id FROM device WHERE id NOT IN (SELECT code FROM event)
or-on-columns: SELECT id FROM event WHERE payload = ? OR level = 'x' OR at = 7
auto-index: SELECT count(*) FROM device d JOIN hourly h ON h.n = d.retired
correlated-subquery: SELECT id, (SELECT max(at) FROM event e WHERE e.payload = d.firmware) FROM device d
distinct-fan-out: SELECT DISTINCT d.* FROM device d JOIN event e ON e.device = d.id WHERE e.level = 'error'
temp-b-tree: SELECT level, count(*) FROM event GROUP BY level, code
temp-b-tree: SELECT DISTINCT payload FROM event
temp-b-tree: SELECT at FROM reading UNION SELECT at FROM event
offset-paging: SELECT at FROM reading WHERE device = ? ORDER BY at LIMIT 10 OFFSET 5000
missing-where: SELECT device, at, value FROM reading
missing-where: DELETE FROM event
random-order: SELECT id FROM event ORDER BY random() * 2 LIMIT 5
