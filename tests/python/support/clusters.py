"""A Redis Cluster of a test's own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from redis_server import RedisServer, eventually

SLOTS = 16384
BUS = 10000  # a node's bus is so far from its port; other distances are of version 7


class Cluster:
    """*masters* with slots in equal parts, and *replicas* of the first."""

    def __init__(self, masters: int, replicas: int) -> None:
        self.running = contextlib.ExitStack()
        try:
            self.nodes = [self._node() for _ in range(masters + replicas)]
            self.masters, self.replicas = self.nodes[:masters], self.nodes[masters:]
            for place, node in enumerate(self.masters):
                slots = range(SLOTS * place // masters, SLOTS * (place + 1) // masters)
                assert node.cli("CLUSTER", "ADDSLOTS", *map(str, slots)) == "OK"
            for node in self.nodes[1:]:
                assert node.cli("CLUSTER", "MEET", "127.0.0.1", str(self.nodes[0].port)) == "OK"
            assert eventually(lambda: all(self._is_ready(node) for node in self.nodes))
            for node in self.replicas:
                assert node.cli("CLUSTER", "REPLICATE", id_of(self.masters[0])) == "OK"
                assert eventually(
                    lambda node=node: "master_link_status:up" in node.cli("INFO", "replication")
                )
        except BaseException:
            self.running.close()
            raise

    def _node(self) -> RedisServer:
        node = RedisServer(
            "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0",
            port=_port_of_a_node(),
        )  # fmt: skip
        self.running.callback(node.stop)
        return node

    def _is_ready(self, node: RedisServer) -> bool:
        info = node.cli("CLUSTER", "INFO")
        return "cluster_state:ok" in info and f"cluster_known_nodes:{len(self.nodes)}" in info

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def owner(self, slot: int) -> RedisServer:
        for line in self.nodes[-1].cli("CLUSTER", "NODES").splitlines():
            ident, _, flags, *_ = line.split()
            for part in line.split()[8:]:
                first, _, last = part.partition("-")
                if "master" in flags and first.isdigit() and int(first) <= slot <= int(last or first):
                    return next(node for node in self.nodes if id_of(node) == ident)
        raise LookupError(slot)

    def limit_memory(self, size: int) -> None:
        """Bytes that each node may use, 0 for any."""
        for node in self.nodes:
            assert node.cli("CONFIG", "SET", "maxmemory", str(size)) == "OK"

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        assert target.cli("CLUSTER", "SETSLOT", str(slot), "IMPORTING", id_of(source)) == "OK"
        assert source.cli("CLUSTER", "SETSLOT", str(slot), "MIGRATING", id_of(target)) == "OK"

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        while names := source.cli("--raw", "CLUSTER", "GETKEYSINSLOT", str(slot), "100").splitlines():
            source.cli("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *names)

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        for node in (target, source, *self.masters):
            assert node.cli("CLUSTER", "SETSLOT", str(slot), "NODE", id_of(target)) == "OK"

    def move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """*slot* and what lies in it, as ``redis-cli --cluster reshard`` does it."""
        self.begin_move(slot, source, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)


def _port_of_a_node() -> int:
    """A free port whose bus is free too."""
    while True:
        with socket.socket() as bus:
            bus.bind(("127.0.0.1", 0))
            port: int = bus.getsockname()[1] - BUS
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def id_of(node: RedisServer) -> str:
    return node.cli("CLUSTER", "MYID")


@contextlib.contextmanager
def cluster(masters: int = 3, replicas: int = 0) -> Iterator[Cluster]:
    made = Cluster(masters, replicas)
    try:
        yield made
    finally:
        made.running.close()
