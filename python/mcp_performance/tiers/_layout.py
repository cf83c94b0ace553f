"""Under which names a tier keeps what it keeps, so that what a script touches lies together.

On one server all names begin alike. In a cluster the entries are spread over parts, each of which lies in one
slot by its hash tag, and has leases, tags' records and indexes of its own: to everything in ``_scripts.py`` a
part is a server. A tag ends in each of them.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Iterable

from ._keys import KEY_VERSION, encode_equal, encode_key, is_encoded, scope_of, shortened

__all__ = ["ENDED", "SLOTS", "Layout", "slot_of"]

SLOTS = 16384
_PARTS = 16
"""How many parts a cluster has: as many masters share the work, and as many steps end a tag."""
_TAG, _SCOPE = b"@", b"%"
_OF_TAGS = _TAG + _SCOPE
ENDED = b"!"
"""What follows the name of a record where it is announced that a tag or a function has ended; a record also
changes when it begins."""


def slot_of(name: bytes) -> int:
    """The slot of *name* in a cluster."""
    start = name.find(b"{")
    end = name.find(b"}", start + 1)
    if 0 <= start < end - 1:
        name = name[start + 1 : end]
    return binascii.crc_hqx(name, 0) % SLOTS


def _spread() -> list[bytes]:
    """Hash tags whose slots lie evenly."""
    tags: dict[int, bytes] = {}
    for number in range(1000):
        tag = b"{%03d}" % number
        tags.setdefault(slot_of(tag) * _PARTS // SLOTS, tag)
    return [tags[part] for part in range(_PARTS)]


class Layout:
    """The names of one tier; *spread* over the slots of a cluster."""

    def __init__(self, namespace: str, *, spread: bool) -> None:
        prefix = f"{namespace}:{KEY_VERSION}:".encode()
        self.parts = [prefix + tag for tag in _spread()] if spread else [prefix]
        """What the names of each begin with, all of one length."""

    def entry(self, key: object) -> bytes:
        """The name of the value of *key*."""
        encoded = encode_equal(key)
        part = self.parts[zlib.crc32(encoded) % len(self.parts)] if len(self.parts) > 1 else self.parts[0]
        return part + shortened(encoded)

    def is_entry(self, name: bytes) -> bool:
        """Whether *name* is that of a value, and not of what is kept beside them."""
        part = self.part_of(name)
        return part in self.parts and is_encoded(name[len(part) :])

    def is_tag(self, name: bytes) -> bool:
        """Whether *name* may be that of the record of a tag or a scope, or of the last one that ended."""
        at = len(self.parts[0])
        return name[at : at + 1] in _OF_TAGS

    def end_in(self, name: bytes) -> bytes | None:
        """The record that *name*, which is announced, says to have ended for everybody."""
        return name[:-1] if name.endswith(ENDED) and self.is_tag(name) else None

    def tag_of(self, record: bytes) -> str | None:
        """The tag whose record this is; ``None`` if it is a scope's, or the name has but a digest."""
        at = len(self.parts[0])
        length, _, text = record[at + 2 :].partition(b":")
        if record[at : at + 2] != _TAG + b"s" or length != b"%d" % len(text):
            return None
        return text.decode("utf-8", "surrogatepass")

    def may_bear(self, record: bytes, key: object) -> bool:
        """Whether a value of *key* may bear what has this *record*, of which :meth:`tag_of` knows nothing."""
        if record[len(self.parts[0]) :].startswith(_TAG):
            return True
        scope = scope_of(key)
        return scope is not None and self.scope(self.part_of(record), scope) == record

    def part_of(self, name: bytes) -> bytes:
        """The part in which *name* lies."""
        return name[: len(self.parts[0])]

    def by_part(self, names: Iterable[bytes]) -> list[list[bytes]]:
        """*names*, those of a part together."""
        found: dict[bytes, list[bytes]] = {}
        for name in names:
            found.setdefault(self.part_of(name), []).append(name)
        return list(found.values())

    def last_end(self, name: bytes) -> bytes:
        """The name, beside *name*, of the record of the last tag that ended."""
        return self.part_of(name) + _TAG

    def tag(self, part: bytes, tag: str) -> bytes:
        """The name of the record of *tag* in *part*."""
        return part + _TAG + shortened(encode_key(tag))

    def scope(self, part: bytes, scope: str) -> bytes:
        """The same of a function's scope."""
        return part + _SCOPE + shortened(encode_key(scope))
