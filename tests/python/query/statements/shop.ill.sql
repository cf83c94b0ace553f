missing-index: SELECT id, name FROM customer WHERE country = 'DE' AND vip = 1
missing-index: SELECT id FROM customer WHERE phone = ?
missing-index: SELECT id FROM customer WHERE created > '2024-12-27'
missing-index: SELECT id FROM purchase WHERE coupon = 'K7'
missing-index: SELECT id, total FROM purchase WHERE status = 'sent' AND placed > ?
missing-index: SELECT id FROM purchase ORDER BY total DESC LIMIT 10
missing-index: DELETE FROM review WHERE at < '2024-01-03'
missing-index: UPDATE purchase SET status = 'done' WHERE coupon = ?
missing-index: SELECT c.name FROM customer c JOIN purchase p ON p.customer = c.id WHERE p.coupon = ?
missing-index: SELECT sum(qty) FROM line WHERE price > 9990
function-on-column: SELECT id FROM purchase WHERE date(placed) = '2024-03-01'
function-on-column: SELECT id FROM purchase WHERE strftime('%Y-%m', placed) = '2024-03'
function-on-column: SELECT id FROM purchase WHERE substr(placed, 1, 7) = '2024-03'
function-on-column: SELECT id FROM customer WHERE lower(email) = ?
function-on-column: SELECT id FROM product WHERE price * 1.19 > 100000
function-on-column: SELECT id FROM product WHERE json_extract(attrs, '$.size') = 7
function-on-column: SELECT id FROM customer WHERE coalesce(phone, '') = ''
function-on-column: SELECT id FROM customer WHERE email || '' = ?
function-on-column: SELECT id FROM customer WHERE upper(trim(name)) = 'X'
function-on-column: SELECT id FROM purchase WHERE julianday('now') - julianday(placed) < 7
leading-wildcard-like: SELECT id FROM customer WHERE email LIKE '%@mail.example'
leading-wildcard-like: SELECT id FROM product WHERE title LIKE '%ing 7%'
leading-wildcard-like: SELECT id FROM product WHERE title GLOB '*77'
leading-wildcard-like: SELECT id FROM customer WHERE name LIKE '%' || ? || '%'
implicit-cast: SELECT id FROM product WHERE sku = 123
implicit-cast: SELECT id FROM purchase WHERE customer = 'abc'
implicit-cast: SELECT id FROM customer WHERE phone = 4900000001
collation-mismatch: SELECT id FROM product WHERE brand = 'Brand7' COLLATE BINARY
collation-mismatch: SELECT id FROM customer WHERE email = ? COLLATE NOCASE
not-in-null: SELECT id FROM category WHERE id NOT IN (SELECT parent FROM category)
not-in-null: SELECT id FROM purchase WHERE coupon NOT IN ('K1', NULL)
not-in-null: SELECT id FROM purchase WHERE id NOT IN (SELECT phone FROM customer)
select-star: SELECT * FROM customer WHERE id = ?
select-star: SELECT p.*, c.name FROM purchase p JOIN customer c ON c.id = p.customer WHERE p.id = ?
offset-paging: SELECT id FROM purchase ORDER BY id LIMIT 20 OFFSET 10000
offset-paging: SELECT id FROM purchase ORDER BY placed LIMIT 5000, 20
random-order: SELECT id FROM product ORDER BY random() LIMIT 3
missing-where: DELETE FROM purchase
missing-where: UPDATE product SET stock = 0
missing-where: SELECT id, email FROM customer
or-on-columns: SELECT id FROM customer WHERE phone = ? OR name = ?
or-on-columns: SELECT id FROM purchase WHERE coupon = 'K7' OR total = 500
count-for-existence: SELECT id FROM customer c WHERE (SELECT count(*) FROM purchase p WHERE p.customer = c.id) > 0
count-for-existence: SELECT (SELECT count(*) FROM purchase WHERE customer = ?) > 0
distinct-fan-out: SELECT DISTINCT c.id, c.name FROM customer c JOIN purchase p ON p.customer = c.id
distinct-fan-out: SELECT DISTINCT p.id FROM product p JOIN line l ON l.product = p.id WHERE p.category = ?
correlated-subquery: SELECT id, (SELECT count(*) FROM customer c WHERE c.phone = p.coupon) FROM purchase p WHERE p.customer = ?
correlated-subquery: SELECT id FROM product p WHERE price > (SELECT avg(price) FROM product q WHERE q.stock = p.stock)
temp-b-tree: SELECT country, count(*) FROM customer GROUP BY country
temp-b-tree: SELECT id, name FROM customer ORDER BY name
full-scan: SELECT rowid FROM product_text WHERE title = 'Thing 7'
