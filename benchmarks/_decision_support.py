"""A decision-support database of eight tables with twenty queries, and one whose foreign keys are skewed.

The shape is that of the well-known benchmark (orders of parts from suppliers in nations and regions); the
data are this
file's own: dates, prices and statuses hang together, and few customers and parts stand for most of the rows.
Everything follows from the scale and the seed.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE region (r_regionkey INTEGER PRIMARY KEY, r_name TEXT, r_comment TEXT);
CREATE TABLE nation (n_nationkey INTEGER PRIMARY KEY, n_name TEXT, n_regionkey INTEGER REFERENCES region);
CREATE TABLE supplier (s_suppkey INTEGER PRIMARY KEY, s_name TEXT, s_address TEXT,
    s_nationkey INTEGER REFERENCES nation, s_phone TEXT, s_acctbal REAL, s_comment TEXT);
CREATE TABLE customer (c_custkey INTEGER PRIMARY KEY, c_name TEXT, c_address TEXT,
    c_nationkey INTEGER REFERENCES nation, c_phone TEXT, c_acctbal REAL, c_mktsegment TEXT, c_comment TEXT);
CREATE TABLE part (p_partkey INTEGER PRIMARY KEY, p_name TEXT, p_mfgr TEXT, p_brand TEXT, p_type TEXT,
    p_size INTEGER, p_container TEXT, p_retailprice REAL);
CREATE TABLE partsupp (ps_partkey INTEGER REFERENCES part, ps_suppkey INTEGER REFERENCES supplier,
    ps_availqty INTEGER, ps_supplycost REAL, PRIMARY KEY (ps_partkey, ps_suppkey));
CREATE TABLE orders (o_orderkey INTEGER PRIMARY KEY, o_custkey INTEGER REFERENCES customer, o_orderstatus
TEXT,
    o_totalprice REAL, o_orderdate TEXT, o_orderpriority TEXT, o_clerk TEXT, o_comment TEXT);
CREATE TABLE lineitem (l_orderkey INTEGER REFERENCES orders, l_partkey INTEGER, l_suppkey INTEGER,
    l_linenumber INTEGER, l_quantity REAL, l_extendedprice REAL, l_discount REAL, l_tax REAL,
    l_returnflag TEXT,
    l_linestatus TEXT, l_shipdate TEXT, l_commitdate TEXT, l_receiptdate TEXT, l_shipinstruct TEXT,
    l_shipmode TEXT, l_comment TEXT, PRIMARY KEY (l_orderkey, l_linenumber));
"""

QUERIES = {
    "pricing": "SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice),"
    " avg(l_discount), count(*)"
    " FROM lineitem WHERE l_shipdate <= '1998-09-02' GROUP BY l_returnflag, l_linestatus"
    " ORDER BY l_returnflag, l_linestatus",
    "cheapest supplier": "SELECT s_acctbal, s_name, n_name, p_partkey, p_mfgr FROM part, supplier,"
    " partsupp, nation,"
    " region WHERE p_partkey = ps_partkey AND s_suppkey = ps_suppkey AND p_size = 15 AND p_type LIKE '%BRASS'"
    " AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'EUROPE' AND ps_supplycost ="
    " (SELECT min(ps_supplycost) FROM partsupp, supplier, nation, region WHERE p_partkey = ps_partkey"
    " AND s_suppkey = ps_suppkey AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name ="
    " 'EUROPE')"
    " ORDER BY s_acctbal DESC, n_name, s_name, p_partkey LIMIT 100",
    "shipping priority": "SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate"
    " FROM customer, orders, lineitem WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey"
    " AND l_orderkey = o_orderkey AND o_orderdate < '1995-03-15' AND l_shipdate > '1995-03-15'"
    " GROUP BY l_orderkey, o_orderdate ORDER BY revenue DESC, o_orderdate LIMIT 10",
    "order priority": "SELECT o_orderpriority, count(*) FROM orders WHERE o_orderdate >= '1993-07-01'"
    " AND o_orderdate < '1993-10-01' AND EXISTS (SELECT * FROM lineitem WHERE l_orderkey = o_orderkey"
    " AND l_commitdate < l_receiptdate) GROUP BY o_orderpriority ORDER BY o_orderpriority",
    "local volume": "SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue FROM customer,"
    " orders, lineitem,"
    " supplier, nation, region WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey ="
    " s_suppkey"
    " AND c_nationkey = s_nationkey AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND"
    " r_name = 'ASIA'"
    " AND o_orderdate >= '1994-01-01' AND o_orderdate < '1995-01-01' GROUP BY n_name ORDER BY revenue DESC",
    "forecast": "SELECT sum(l_extendedprice * l_discount) FROM lineitem WHERE l_shipdate >= '1994-01-01'"
    " AND l_shipdate < '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
    "volume": "SELECT supp, cust, year, sum(volume) FROM (SELECT n1.n_name AS supp, n2.n_name AS cust,"
    " substr(l_shipdate, 1, 4) AS year, l_extendedprice * (1 - l_discount) AS volume FROM supplier,"
    " lineitem, orders,"
    " customer, nation n1, nation n2 WHERE s_suppkey = l_suppkey AND o_orderkey = l_orderkey AND"
    " c_custkey = o_custkey"
    " AND s_nationkey = n1.n_nationkey AND c_nationkey = n2.n_nationkey AND ((n1.n_name = 'N6' AND"
    " n2.n_name = 'N7')"
    " OR (n1.n_name = 'N7' AND n2.n_name = 'N6')) AND l_shipdate BETWEEN '1995-01-01' AND '1996-12-31')"
    " GROUP BY supp, cust, year ORDER BY supp, cust, year",
    "market share": "SELECT year, sum(CASE WHEN nation = 'N2' THEN volume ELSE 0 END) / sum(volume) FROM"
    " (SELECT substr(o_orderdate, 1, 4) AS year, l_extendedprice * (1 - l_discount) AS volume, n2.n_name"
    " AS nation"
    " FROM part, supplier, lineitem, orders, customer, nation n1, nation n2, region WHERE p_partkey ="
    " l_partkey"
    " AND s_suppkey = l_suppkey AND l_orderkey = o_orderkey AND o_custkey = c_custkey AND c_nationkey ="
    " n1.n_nationkey"
    " AND n1.n_regionkey = r_regionkey AND r_name = 'AMERICA' AND s_nationkey = n2.n_nationkey"
    " AND o_orderdate BETWEEN '1995-01-01' AND '1996-12-31' AND p_type = 'ECONOMY ANODIZED STEEL') GROUP"
    " BY year",
    "profit": "SELECT n_name, substr(o_orderdate, 1, 4) AS year, sum(l_extendedprice * (1 - l_discount) -"
    " ps_supplycost * l_quantity) FROM part, supplier, lineitem, partsupp, orders, nation WHERE s_suppkey"
    " = l_suppkey"
    " AND ps_suppkey = l_suppkey AND ps_partkey = l_partkey AND p_partkey = l_partkey AND o_orderkey ="
    " l_orderkey"
    " AND s_nationkey = n_nationkey AND p_name LIKE '%green%' GROUP BY n_name, year ORDER BY n_name, year"
    " DESC",
    "returned items": "SELECT c_custkey, c_name, sum(l_extendedprice * (1 - l_discount)) AS revenue,"
    " c_acctbal, n_name"
    " FROM customer, orders, lineitem, nation WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey"
    " AND o_orderdate >= '1993-10-01' AND o_orderdate < '1994-01-01' AND l_returnflag = 'R'"
    " AND c_nationkey = n_nationkey GROUP BY c_custkey, c_name, c_acctbal, n_name ORDER BY revenue DESC"
    " LIMIT 20",
    "important stock": "SELECT ps_partkey, sum(ps_supplycost * ps_availqty) AS value FROM partsupp,"
    " supplier, nation"
    " WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey AND n_name = 'N7' GROUP BY ps_partkey"
    " HAVING value > (SELECT sum(ps_supplycost * ps_availqty) * 0.001 FROM partsupp, supplier, nation"
    " WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey AND n_name = 'N7') ORDER BY value DESC",
    "ship modes": "SELECT l_shipmode, sum(o_orderpriority IN ('1-URGENT', '2-HIGH')), count(*) FROM"
    " orders, lineitem"
    " WHERE o_orderkey = l_orderkey AND l_shipmode IN ('MAIL', 'SHIP') AND l_commitdate < l_receiptdate"
    " AND l_shipdate < l_commitdate AND l_receiptdate >= '1994-01-01' AND l_receiptdate < '1995-01-01'"
    " GROUP BY l_shipmode ORDER BY l_shipmode",
    "customer distribution": "SELECT orders_of, count(*) AS customers FROM (SELECT c_custkey,"
    " count(o_orderkey) AS"
    " orders_of FROM customer LEFT JOIN orders ON c_custkey = o_custkey AND o_comment NOT LIKE"
    " '%special%requests%'"
    " GROUP BY c_custkey) GROUP BY orders_of ORDER BY customers DESC, orders_of DESC",
    "promotion": "SELECT 100.0 * sum(CASE WHEN p_type LIKE 'PROMO%' THEN l_extendedprice * (1 -"
    " l_discount) ELSE 0 END)"
    " / sum(l_extendedprice * (1 - l_discount)) FROM lineitem, part WHERE l_partkey = p_partkey"
    " AND l_shipdate >= '1995-09-01' AND l_shipdate < '1995-10-01'",
    "top supplier": "WITH revenue AS (SELECT l_suppkey AS supplier_no, sum(l_extendedprice * (1 -"
    " l_discount)) AS total"
    " FROM lineitem WHERE l_shipdate >= '1996-01-01' AND l_shipdate < '1996-04-01' GROUP BY l_suppkey)"
    " SELECT s_suppkey, s_name, total FROM supplier, revenue WHERE s_suppkey = supplier_no"
    " AND total = (SELECT max(total) FROM revenue) ORDER BY s_suppkey",
    "parts by supplier": "SELECT p_brand, p_type, p_size, count(DISTINCT ps_suppkey) AS suppliers FROM"
    " partsupp, part"
    " WHERE p_partkey = ps_partkey AND p_brand <> 'Brand#45' AND p_type NOT LIKE 'MEDIUM POLISHED%'"
    " AND p_size IN (49, 14, 23, 45, 19, 3, 36, 9) AND ps_suppkey NOT IN (SELECT s_suppkey FROM supplier"
    " WHERE s_comment LIKE '%Customer%Complaints%') GROUP BY p_brand, p_type, p_size"
    " ORDER BY suppliers DESC, p_brand, p_type, p_size LIMIT 50",
    "small quantity": "SELECT sum(l_extendedprice) / 7.0 FROM lineitem, part WHERE p_partkey = l_partkey"
    " AND p_brand = 'Brand#23' AND p_container = 'MED BOX' AND l_quantity < (SELECT 0.2 * avg(l_quantity)"
    " FROM lineitem WHERE l_partkey = p_partkey)",
    "large orders": "SELECT c_name, o_orderkey, o_orderdate, o_totalprice, sum(l_quantity) FROM customer,"
    " orders,"
    " lineitem WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem GROUP BY l_orderkey HAVING"
    " sum(l_quantity) > 250)"
    " AND c_custkey = o_custkey AND o_orderkey = l_orderkey GROUP BY c_name, o_orderkey, o_orderdate,"
    " o_totalprice"
    " ORDER BY o_totalprice DESC, o_orderdate LIMIT 100",
    "waiting suppliers": "SELECT s_name, count(*) AS late FROM supplier, lineitem l1, orders, nation"
    " WHERE s_suppkey ="
    " l1.l_suppkey AND o_orderkey = l1.l_orderkey AND o_orderstatus = 'F' AND l1.l_receiptdate >"
    " l1.l_commitdate"
    " AND EXISTS (SELECT * FROM lineitem l2 WHERE l2.l_orderkey = l1.l_orderkey AND l2.l_suppkey <>"
    " l1.l_suppkey)"
    " AND NOT EXISTS (SELECT * FROM lineitem l3 WHERE l3.l_orderkey = l1.l_orderkey AND l3.l_suppkey <>"
    " l1.l_suppkey"
    " AND l3.l_receiptdate > l3.l_commitdate) AND s_nationkey = n_nationkey AND n_name = 'N20' GROUP BY"
    " s_name"
    " ORDER BY late DESC, s_name LIMIT 100",
    "sales opportunity": "SELECT code, count(*), sum(balance) FROM (SELECT substr(c_phone, 1, 2) AS code,"
    " c_acctbal AS"
    " balance FROM customer WHERE substr(c_phone, 1, 2) IN ('13', '31', '23', '29', '30', '18', '17') AND"
    " c_acctbal >"
    " (SELECT avg(c_acctbal) FROM customer WHERE c_acctbal > 0.0 AND substr(c_phone, 1, 2) IN ('13',"
    " '31', '23'))"
    " AND NOT EXISTS (SELECT * FROM orders WHERE o_custkey = c_custkey)) GROUP BY code ORDER BY code",
}

COLORS = [
    "almond",
    "azure",
    "beige",
    "blue",
    "brown",
    "coral",
    "cream",
    "cyan",
    "forest",
    "ghost",
    "green",
    "grey",
    "ivory",
    "khaki",
    "lace",
    "lime",
]
TYPES = [
    f"{a} {b} {c}"
    for a in ("STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO")
    for b in ("ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED")
    for c in ("TIN", "NICKEL", "BRASS", "STEEL", "COPPER")
]
SEGMENTS = ("AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD")
PRIORITIES = ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW")
MODES = ("REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB")
INSTRUCTIONS = ("NONE", "COLLECT COD", "TAKE BACK RETURN")
CONTAINERS = [
    f"{a} {b}" for a in ("SM", "LG", "MED", "JUMBO", "WRAP") for b in ("CASE", "BOX", "BAG", "JAR", "PKG")
]
WORDS = [
    "carefully",
    "final",
    "deposits",
    "special",
    "express",
    "requests",
    "quickly",
    "regular",
    "accounts",
    "sleep",
    "furiously",
    "ironic",
    "Customer",
]
FIRST_DAY = date(1992, 1, 1)
TODAY = "1995-06-17"
LAST_ORDER = 2405  # days


@cache
def _day(number: int) -> str:
    return (FIRST_DAY + timedelta(days=number)).isoformat()


def _skewed(draw: random.Random, count: int) -> int:
    """1 to *count*; the low numbers more often."""
    return 1 + int(count * draw.random() ** 1.6)


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


class _Sizes:
    """Rows of each table."""

    def __init__(self, scale: float) -> None:
        self.customers, self.parts = int(150_000 * scale), int(200_000 * scale)
        self.suppliers = max(int(10_000 * scale), 25)
        self.orders = int(1_500_000 * scale)
        self.apart = self.suppliers // 4 + 1  # of the four suppliers of one part


Rows = Iterable[tuple[object, ...]]


def _places(draw: random.Random, sizes: _Sizes) -> Iterator[tuple[str, Rows]]:
    regions = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
    yield "region", ((n, name, _text(draw, 5)) for n, name in enumerate(regions))
    yield "nation", ((n, f"N{n}", n % 5) for n in range(25))

    def somebody(kind: str, n: int) -> tuple[object, ...]:
        name, phone = f"{kind}#{n:09}", f"{10 + n % 25}-{n:07}"
        return (n, name, _text(draw, 2), n % 25, phone, draw.uniform(-999, 9999))

    suppliers = range(1, sizes.suppliers + 1)
    yield "supplier", ((*somebody("Supplier", n), _text(draw, 8)) for n in suppliers)
    customers = range(1, sizes.customers + 1)
    yield (
        "customer",
        ((*somebody("Customer", n), draw.choice(SEGMENTS), _text(draw, 8)) for n in customers),
    )


def _things(draw: random.Random, sizes: _Sizes) -> Iterator[tuple[str, Rows]]:
    def part(n: int) -> tuple[object, ...]:
        maker, brand = f"Manufacturer#{1 + n % 5}", f"Brand#{1 + n % 5}{1 + n // 5 % 5}"
        name, size = " ".join(draw.sample(COLORS, 5)), draw.randint(1, 50)
        return n, name, maker, brand, draw.choice(TYPES), size, draw.choice(CONTAINERS), 900 + n % 1000

    yield "part", (part(n) for n in range(1, sizes.parts + 1))

    def supply(n: int, i: int) -> tuple[object, ...]:
        supplier = (n + i * sizes.apart) % sizes.suppliers + 1
        return n, supplier, draw.randint(1, 9999), draw.uniform(1, 1000)

    yield "partsupp", (supply(n, i) for n in range(1, sizes.parts + 1) for i in range(4))


def _line(draw: random.Random, sizes: _Sizes, key: int, number: int, ordered: int) -> tuple[Any, ...]:
    part, quantity = _skewed(draw, sizes.parts), draw.randint(1, 50)
    shipped = ordered + draw.randint(1, 121)
    received = _day(shipped + draw.randint(1, 30))
    supplier = (part + draw.randrange(4) * sizes.apart) % sizes.suppliers + 1
    price = quantity * (900.0 + part % 1000)
    returned = "N" if received > TODAY else draw.choice("RA")
    status = "O" if _day(shipped) > TODAY else "F"
    figures = (quantity, price, draw.randint(0, 10) / 100, draw.randint(0, 8) / 100)
    dates = (_day(shipped), _day(ordered + draw.randint(30, 90)), received)
    how = (draw.choice(INSTRUCTIONS), draw.choice(MODES), _text(draw, 3))
    return (key, part, supplier, number, *figures, returned, status, *dates, *how)


def _orders(draw: random.Random, sizes: _Sizes) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    orders, lines = [], []
    for key in range(1, sizes.orders + 1):
        ordered = draw.randrange(LAST_ORDER)
        own = [_line(draw, sizes, key, number, ordered) for number in range(1, draw.randint(1, 7) + 1)]
        lines += own
        states = {line[9] for line in own}
        customer = _skewed(draw, sizes.customers * 2 // 3) * 3 // 2
        status = states.pop() if len(states) == 1 else "P"
        total = sum(line[5] for line in own)
        rest = (draw.choice(PRIORITIES), f"Clerk#{key % 1000:09}", _text(draw, 6))
        orders.append((key, customer, status, total, _day(ordered), *rest))
    return orders, lines


def build(path: Path, scale: float, seed: int = 1) -> None:
    """Write the database: 6,000,000 times *scale* line items and the rest in proportion."""
    draw, sizes = random.Random(seed), _Sizes(scale)
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    tables = [*_places(draw, sizes), *_things(draw, sizes)]
    orders, lines = _orders(draw, sizes)
    for table, rows in [*tables, ("orders", orders), ("lineitem", lines)]:
        columns = connection.execute("SELECT count(*) FROM pragma_table_info(?)", (table,)).fetchone()[0]
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})", rows)
    connection.commit()
    connection.close()


SKEWED_QUERIES = {
    "rare kind": "SELECT sum(size) FROM events WHERE account = 1 AND kind = 'k77'",
    "the large account": "SELECT kind, count(*) FROM events WHERE account = 1 AND at >= '1998-06-01'"
    " GROUP BY kind",
    "a small account": "SELECT id, size FROM events WHERE account = 4321 ORDER BY at DESC LIMIT 20",
    "by name": "SELECT e.id FROM accounts a JOIN events e ON e.account = a.id WHERE a.name = 'account 1'"
    " AND e.kind = 'k78' ORDER BY e.id",
    "open ones": "SELECT id FROM events WHERE state = 'open' AND account = 1 ORDER BY id",
    "closing": "UPDATE events SET state = 'done' WHERE account = 4322 AND kind = 'k3'",
}


def build_skewed(path: Path, rows: int, seed: int = 1) -> None:
    """Nine events of ten are of one account: an index on the foreign key finds nearly all of them."""
    draw = random.Random(seed)
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT);"
        "CREATE TABLE events (id INTEGER PRIMARY KEY, account INTEGER REFERENCES accounts, kind TEXT,"
        " state TEXT,"
        " at TEXT, size INTEGER, note TEXT);"
    )
    connection.executemany(
        "INSERT INTO accounts VALUES (?, ?)", ((n, f"account {n}") for n in range(1, 5001))
    )
    connection.executemany(
        "INSERT INTO events (account, kind, state, at, size, note) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                1 if draw.random() < 0.9 else draw.randint(2, 5000),
                f"k{draw.randrange(100)}",
                "open" if draw.random() < 0.002 else "done",
                _day(draw.randrange(LAST_ORDER)),
                draw.randrange(1000),
                _text(draw, 6),
            )
            for _ in range(rows)
        ),
    )
    connection.commit()
    connection.close()
