SELECT value FROM reading WHERE device = ? AND metric = 'temp' AND at = ?
SELECT at, value FROM reading WHERE device = ? AND metric = ? AND at BETWEEN ? AND ? ORDER BY at
SELECT at, value FROM reading WHERE device = ? AND metric = ? ORDER BY at DESC LIMIT 1
SELECT avg(value), min(value), max(value) FROM reading WHERE device = ? AND metric = ? AND at > ?
SELECT metric, max(at) FROM reading WHERE device = ? GROUP BY metric
SELECT at, value FROM latest WHERE device = ? AND metric = 'hum'
DELETE FROM reading WHERE at < ?
SELECT count(*) FROM reading WHERE at >= ? AND at < ?
INSERT OR REPLACE INTO reading VALUES (?, ?, ?, ?)
INSERT INTO hourly SELECT device, at / 3600, metric, count(*), sum(value), min(value), max(value) FROM reading WHERE at >= ? AND at < ? GROUP BY device, metric, at / 3600
INSERT INTO hourly VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT(device, metric, hour) DO UPDATE SET n = n + 1, total = total + excluded.total
SELECT hour, total / n FROM hourly WHERE device = ? AND metric = ? AND hour >= ? ORDER BY hour
SELECT id, at, level FROM event WHERE device = ? ORDER BY at DESC LIMIT 50
SELECT id, at FROM event WHERE device = ? AND at > ? ORDER BY at DESC
SELECT id, device FROM event WHERE level = 'error' AND at >= ? ORDER BY at
SELECT count(*) FROM event WHERE level = 'error' AND at >= ?
SELECT id FROM event WHERE code = 404
SELECT id, payload FROM event WHERE code = ?
SELECT json_extract(payload, '$.user') FROM event WHERE id = ?
SELECT id FROM event WHERE device IN (?, ?) AND at > ?
SELECT id, model FROM device WHERE serial = 'SN0000123'
SELECT id FROM device WHERE site = ?
SELECT id FROM device WHERE model = 'M7' AND retired IS NULL
SELECT d.serial, s.code FROM device d JOIN site s ON s.id = d.site WHERE d.serial = ?
SELECT s.code, count(*) FROM site s JOIN device d ON d.site = s.id WHERE s.code = ? GROUP BY s.code
SELECT d.id FROM device_area a JOIN device d ON d.id = a.id WHERE a.minx >= 3 AND a.maxx <= 6 AND a.miny >= 1 AND a.maxy <= 9
SELECT id FROM device_area WHERE minx <= ? AND maxx >= ?
SELECT id, device, rule FROM alarm WHERE cleared IS NULL ORDER BY raised
SELECT id, rule FROM alarm WHERE device = ? AND raised > ?
UPDATE alarm SET cleared = ? WHERE id = ?
UPDATE alarm SET cleared = unixepoch() WHERE device = ? AND cleared IS NULL
UPDATE device SET firmware = ? WHERE serial = ?
UPDATE device SET retired = ? WHERE id = ?
DELETE FROM alarm WHERE device = ?
DELETE FROM device WHERE serial = ? AND retired IS NOT NULL
SELECT e.id, d.serial FROM event e JOIN device d ON d.id = e.device WHERE e.level = 'error' AND e.at > ? ORDER BY e.at LIMIT 100
SELECT d.id, (SELECT max(e.at) FROM event e WHERE e.device = d.id) FROM device d WHERE d.site = ?
SELECT d.id FROM device d WHERE d.site = ? AND NOT EXISTS (SELECT 1 FROM alarm a WHERE a.device = d.id)
SELECT at, value, avg(value) OVER (ORDER BY at ROWS BETWEEN 5 PRECEDING AND CURRENT ROW) FROM reading WHERE device = ? AND metric = ? ORDER BY at
SELECT at, value - lag(value) OVER (ORDER BY at) FROM reading WHERE device = ? AND metric = 'volt'
WITH d AS (SELECT id FROM device WHERE site = ?) SELECT count(*) FROM event WHERE device IN (SELECT id FROM d)
SELECT r.device, avg(r.value) FROM reading r WHERE r.device IN (SELECT id FROM device WHERE site = ?) AND r.metric = 'temp' GROUP BY r.device
SELECT id FROM site WHERE code = ?
SELECT code, lat, lon FROM site
SELECT id FROM site WHERE lat BETWEEN 10 AND 11
SELECT min(at), max(at) FROM reading WHERE device = ? AND metric = ?
SELECT min(at) FROM reading
SELECT max(at) FROM reading
SELECT device FROM reading WHERE device = ? AND metric = 'temp' LIMIT 1
SELECT id FROM event WHERE device = ? AND at BETWEEN ? AND ?
SELECT id FROM event WHERE level = 'warn' AND at BETWEEN ? AND ? LIMIT 10
INSERT INTO event(device, at, level, payload) VALUES (?, ?, ?, ?)
INSERT INTO alarm(device, raised, rule) SELECT id, ?, ? FROM device WHERE serial = ?
SELECT x.id FROM (SELECT id, site FROM device WHERE site = ?) x JOIN alarm a ON a.device = x.id
SELECT id FROM alarm WHERE device = ? UNION SELECT id FROM event WHERE device = ?
SELECT id FROM device WHERE id = ? OR serial = ?
SELECT id FROM event WHERE (device = ? AND at > ?) OR code = ?
SELECT device, at FROM reading WHERE at > ? ORDER BY at LIMIT 100
SELECT total(n) FROM hourly WHERE device = ? AND metric = 'temp'
SELECT value FROM reading WHERE device = ? AND metric = 'temp' AND at > ? AND value > 30
SELECT d.serial, e.at FROM device d LEFT JOIN event e ON e.device = d.id AND e.at > ? WHERE d.id = ?
SELECT id FROM event WHERE id > ? AND level = 'info' ORDER BY id LIMIT 500
SELECT CAST(value AS INTEGER) FROM reading WHERE device = ? AND metric = ? AND at = ?
SELECT printf('%.2f', value) FROM reading WHERE device = ? AND metric = ? AND at = ?
SELECT serial FROM device WHERE id IN (SELECT device FROM alarm WHERE cleared IS NULL)
