SELECT id, name FROM customer WHERE id = ?
SELECT id, name, country FROM customer WHERE email = ?
SELECT name FROM customer WHERE id IN (?, ?, ?)
SELECT c.name, p.id, p.total FROM customer c JOIN purchase p ON p.customer = c.id WHERE c.email = :email
SELECT id, placed, total FROM purchase WHERE customer = ? ORDER BY placed DESC LIMIT 20
SELECT id, placed, total FROM purchase WHERE customer = ? AND placed < ? ORDER BY placed DESC LIMIT 20
SELECT id, total FROM purchase WHERE placed >= '2024-03-01' AND placed < '2024-03-02'
SELECT id, total FROM purchase WHERE placed BETWEEN ? AND ? ORDER BY placed
SELECT id, customer, placed FROM purchase WHERE status = 'open' ORDER BY placed LIMIT 50
SELECT id, customer FROM open_purchase ORDER BY placed LIMIT 10
SELECT count(*) FROM purchase WHERE customer = ?
SELECT sum(total) FROM purchase WHERE customer = ? AND placed >= ?
SELECT id, sku, title, price FROM product WHERE sku = 'SKU-000123'
SELECT id, title FROM product WHERE category = ? ORDER BY price LIMIT 20
SELECT id, title, price FROM product WHERE category = ? AND price BETWEEN 1000 AND 2000
SELECT min(price), max(price) FROM product WHERE category = 7
SELECT id, title FROM product WHERE brand = 'brand7'
SELECT id, title FROM product WHERE json_extract(attrs, '$.color') = 'c7'
SELECT l.pos, p.title, l.qty, l.price FROM line l JOIN product p ON p.id = l.product WHERE l.purchase = ? ORDER BY l.pos
SELECT sum(qty * price) FROM line WHERE purchase = ?
SELECT l.purchase, l.qty FROM line l WHERE l.product = ?
SELECT id, stars, body FROM review WHERE product = ? ORDER BY at DESC LIMIT 5
SELECT avg(stars), count(*) FROM review WHERE product = ?
SELECT stars, reviews FROM product_rating WHERE product = ?
SELECT value FROM setting WHERE key = 'k3'
SELECT key, value FROM setting
SELECT key, value FROM setting WHERE value = '7'
SELECT rowid FROM product_text WHERE product_text MATCH 'word7'
SELECT p.id, p.title FROM product_text f JOIN product p ON p.id = f.rowid WHERE product_text MATCH ? ORDER BY rank LIMIT 20
SELECT id FROM shop_place WHERE x0 >= 3 AND x1 <= 9 AND y0 >= 2 AND y1 <= 8
SELECT p.id FROM product p WHERE p.id = ? AND EXISTS (SELECT 1 FROM review r WHERE r.product = p.id)
SELECT c.id FROM customer c WHERE c.id = ? AND NOT EXISTS (SELECT 1 FROM purchase p WHERE p.customer = c.id)
INSERT INTO customer(email, name, country, created) VALUES (?, ?, ?, ?)
INSERT INTO line(purchase, pos, product, qty, price) VALUES (?, ?, ?, ?, ?)
INSERT INTO purchase(customer, status, placed, total) VALUES (?, 'open', ?, ?) RETURNING id
UPDATE purchase SET status = 'paid' WHERE id = ?
UPDATE product SET stock = stock - ? WHERE id = ? AND stock >= ?
UPDATE customer SET vip = 1 WHERE email = ?
DELETE FROM line WHERE purchase = ? AND pos = ?
DELETE FROM purchase WHERE id = ?
INSERT INTO setting(key, value) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value
INSERT OR IGNORE INTO category(parent, name) VALUES (?, ?)
REPLACE INTO setting(key, value) VALUES ('a', 'b')
SELECT name FROM category WHERE parent = ? ORDER BY name
WITH RECURSIVE tree(id) AS (SELECT ? UNION ALL SELECT c.id FROM category c JOIN tree t ON c.parent = t.id) SELECT id FROM tree
WITH recent AS (SELECT id, total FROM purchase WHERE customer = ? ORDER BY placed DESC LIMIT 5) SELECT sum(total) FROM recent
SELECT id, total, sum(total) OVER (ORDER BY placed) AS running FROM purchase WHERE customer = ? ORDER BY placed
SELECT p.id, p.title FROM product p JOIN category c ON c.id = p.category WHERE c.parent = ? AND c.name = ?
SELECT r.id, p.title, c.name FROM review r JOIN product p ON p.id = r.product JOIN customer c ON c.id = r.customer WHERE r.id = ?
SELECT id FROM purchase WHERE customer = ?1 AND placed = (SELECT max(placed) FROM purchase WHERE customer = ?1)
SELECT id, total FROM purchase WHERE id > ? ORDER BY id LIMIT 100
SELECT id FROM product WHERE category IN (1, 2, 3) AND price < 500
SELECT 1 FROM customer WHERE email = ? LIMIT 1
SELECT EXISTS (SELECT 1 FROM purchase WHERE customer = ?)
SELECT coalesce((SELECT max(pos) FROM line WHERE purchase = ?), 0) + 1
SELECT id FROM customer WHERE email = ? UNION ALL SELECT id FROM customer WHERE id = ?
SELECT max(id) FROM purchase
SELECT count(*) FROM category
SELECT (SELECT name FROM customer WHERE id = p.customer) AS buyer, p.total FROM purchase p WHERE p.id = ?
DELETE FROM review WHERE product = ? AND at < ?
SELECT id FROM product WHERE sku IN ('SKU-000001', 'SKU-000002')
SELECT id, json_extract(attrs, '$.size') FROM product WHERE id = ?
SELECT p.id, j.value FROM product p, json_each(p.attrs) j WHERE p.id = ?
UPDATE line SET qty = ? WHERE purchase = ? AND pos = ?
SELECT DISTINCT product FROM line WHERE purchase = ?
VALUES (1, 2), (3, 4)
SELECT 1
SELECT date('now'), random()
SELECT p.id FROM purchase p LEFT JOIN line l ON l.purchase = p.id WHERE p.customer = ? AND l.purchase IS NULL
