"""What is decided inside Redis, each in one step and one round trip.

A record is what lies under a key's name: a *value*, with the stamp of the moment from which it speaks and
the tags that it was given; or a *lease*, while somebody loads the key. Stamps are the server's time in
microseconds, 16 digits, so that they compare as text.

- A load takes a lease where there is no value (``LOOK``), and is stored (``STORE``) only while its own lease
  lies there. Whatever else happened to the key in between, ``DEL``, ``SET``, ``FLUSHALL`` or ``SWAPDB`` by
  anybody, has taken the lease away. Who finds the lease of another waits.
- A load that renews a value leaves it in place, and holds its lease beside it. It is stored while a value
  lies there that speaks from no later than the load: one that came after a deletion would.
- A tag has a record of its own with the stamp up to which it was invalidated. A value is dead when the
  record of one of its tags is gone, or bears its stamp or a later one. So a tag of any size is invalidated in
  one step, and a load that began before it is stored dead.
- What was owed while Redis could not be reached is made good with the stamp of the moment when it was asked
  for, and harms nothing newer.

Scripts of Redis 6.0 and newer, and of Valkey.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = [
    "DROP",
    "END_TAGS",
    "GIVE_UP",
    "LOOK",
    "RECLAIM",
    "RENEW",
    "STORE",
    "STORE_MANY",
    "Command",
    "Script",
    "digest_of",
    "in_full",
]

Command = tuple[bytes | str | int, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and its digest, under which a server knows it once it has run."""

    text: str
    digest: str

    def by_digest(self, names: tuple[bytes, ...], *arguments: bytes | str | int) -> Command:
        """The command that runs it on a server that knows it."""
        return ("EVALSHA", self.digest, len(names), *names, *arguments)


def in_full(command: Command) -> Command:
    """*command*, which :meth:`Script.by_digest` made, for a server that does not know its script."""
    return ("EVAL", _texts[str(command[1])], *command[2:])


_texts: dict[str, str] = {}


def digest_of(text: str) -> str:
    """Under what a server knows the script *text* once it has run."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _script(body: str) -> Script:
    text = f"{_OWN}local function run()\n{body}\nend\n{_APART}"
    digest = digest_of(text)
    _texts[digest] = text
    return Script(text, digest)


# What a script changes is announced to its own client too: NOLOOP would also keep from it what the server
# evicts, or no longer remembers that it was read, while it serves that client. On a channel of its own, which
# is named last, the client is told which announcements are of its own changes: those between two messages,
# or, where the server waits with them for the script's end, those of the names in the second.
_OWN = """
local own, mine = ARGV[#ARGV], {}
-- So that the next change of it is announced, once.
local function reads(name)
  if own ~= '' then redis.call('EXISTS', name) end
end
-- What was read has changed, or does so now.
local function changes(name)
  if own ~= '' then mine[#mine + 1] = string.format('%08x', #name) .. name end
end
"""
_APART = """
if own == '' then return run() end
local waits = redis.REDIS_VERSION_NUM and redis.REDIS_VERSION_NUM >= 0x070005
if not waits then redis.pcall('PUBLISH', own, '<') end
local done, answer = pcall(run)
if #mine > 0 or not waits then redis.pcall('PUBLISH', own, '>' .. table.concat(mine)) end
if not done then error(answer, 0) end
return answer
"""
_NOW = """
local function now()
  local time = redis.call('TIME')
  return string.format('%010d%06d', tonumber(time[1]), tonumber(time[2]))
end
local function shift(stamp, by) return string.format('%016.0f', tonumber(stamp) + by) end
"""
_HEADS = """
local VALUE, LEASE = '\\193V', '\\193L'
local function head(name)
  local found = redis.pcall('GETRANGE', name, 0, 41)
  if type(found) == 'table' then return '', '', '' end
  return string.sub(found, 1, 2), string.sub(found, 3, 18), string.sub(found, 19, 42)
end
"""
# Whether a value bears a tag, from its head (see _records.py), and speaks from no later than `until`.
_BEARS = """
local function bears(name, tag, stamp)
  local start = redis.pcall('GETRANGE', name, 0, 23)
  if type(start) == 'table' or string.sub(start, 1, 2) ~= '\\193V' then return false end
  if string.sub(start, 3, 18) > stamp then return false end
  local size = tonumber(string.sub(start, 19, 24), 16) or 0
  local tags = redis.call('GETRANGE', name, 24, 23 + size)
  return string.find(tags, string.format('%04x', #tag) .. tag, 1, true) ~= nil
end
local function reclaim(names, tag, stamp)
  local count = 0
  for _, name in ipairs(names) do
    if bears(name, tag, stamp) then
      local gone = redis.pcall('UNLINK', name)
      if type(gone) == 'number' then count = count + gone end
    end
  end
  return count
end
"""

# KEYS: the key, its lease of renewal, the record of the last tag that ended: who looks after that need not
# wait for a load that began before, which may bear it. ARGV: token, milliseconds of a lease, cause (0 miss,
# 1 renewal, 2 refresh), milliseconds of life that are left to a stale value, what is known to be dead: the
# stamp of a value, or the token of a holder. Answers what was found and done, the record, its remaining
# life, the time, and what was refused, if anything:
#   V  a value, nothing to load       R  a value, and the lease to renew it
#   L  the lease of another           G  no value, and the lease
#   N  no value, and no lease could be given
LOOK = _script(
    _NOW
    + """
local VALUE, LEASE = '\\193V', '\\193L'
local time = now()
local held = redis.call('GET', KEYS[1])
local kind = held and string.sub(held, 1, 2)
if kind == VALUE and string.sub(held, 3, 18) ~= ARGV[5] then
  local left = redis.call('PTTL', KEYS[1])
  if ARGV[3] == '0' and not (left >= 0 and left <= tonumber(ARGV[4])) then return {'V', held, left, time} end
  local set
  if ARGV[3] == '2' then
    set = redis.pcall('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  else
    set = redis.pcall('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
  end
  if type(set) == 'table' and set.ok then return {'R', held, left, time} end
  return {'V', held, left, time}
end
local ended = redis.call('GET', KEYS[3]) or ''
local waits = kind == LEASE and ARGV[3] ~= '2' and string.sub(held, 3, 18) > ended
if waits and string.sub(held, 19, 42) ~= ARGV[5] then
  return {'L', held, redis.call('PTTL', KEYS[1]), time}
end
local set = redis.pcall('SET', KEYS[1], LEASE .. time .. ARGV[1], 'PX', ARGV[2])
if type(set) == 'table' and set.ok then
  changes(KEYS[1])
  redis.call('STRLEN', KEYS[1])  -- a read: changes are announced from here on
  return {'G', held, -2, time}
end
return {'N', held, -2, time, set.err}
"""
)

# KEYS: the key, its lease of renewal, the tags' records; the key alone for a value that is set by hand and
# has no tags. ARGV: the load's token, or '' for a value that was set by hand; its stamp; milliseconds to
# live, 0 for ever; the head behind the stamp, and the body; how many of the tags have an index; the least
# life of a tag's record.
# Answers whether it was stored, the time, the stamp, and the records that were made or given longer life.
STORE = _script(
    _NOW
    + _HEADS
    + """
local time, token, stamp = now(), ARGV[1], ARGV[2]
if token == '' then
  stamp = time
  reads(KEYS[1])
else
  local kind, since, holder = head(KEYS[1])
  if not ((kind == LEASE and holder == token) or (kind == VALUE and since <= stamp)) then
    return {0, time, stamp}
  end
end
local ttl, least = tonumber(ARGV[3]), tonumber(ARGV[6])
local answer = {1, time, stamp}
for i = 3, #KEYS do
  local dead = redis.call('GET', KEYS[i])
  if dead and dead >= stamp and token == '' then stamp = shift(dead, 1) end
end
for i = 3, #KEYS do
  local dead = redis.call('GET', KEYS[i])
  if not dead then
    -- What was invalidated and then forgotten left its record for as long as this.
    dead = shift(stamp, -1)
    if tonumber(time) - tonumber(stamp) > least * 1000 then dead = time end
    redis.call('SET', KEYS[i], dead)
    changes(KEYS[i])
    redis.call('PEXPIRE', KEYS[i], least * 2)
    answer[#answer + 1] = KEYS[i]
  end
  if dead >= stamp then
    changes(KEYS[1])
    redis.call('DEL', KEYS[1], KEYS[2])
    answer[1] = 0
    return answer
  end
  local left = redis.call('PTTL', KEYS[i])
  if left >= 0 and (ttl == 0 or left < ttl) then
    if ttl == 0 then
      redis.call('PERSIST', KEYS[i])
    else
      redis.call('PEXPIRE', KEYS[i], math.max(ttl, least) * 2)
    end
    changes(KEYS[i])
    answer[#answer + 1] = KEYS[i]
  end
  if i - 2 <= tonumber(ARGV[5]) then
    local index = KEYS[i] .. '#'
    redis.call('ZREMRANGEBYSCORE', index, '-inf', time)
    redis.call('ZADD', index, ttl > 0 and tonumber(time) + ttl * 1000 or '+inf', KEYS[1])
    local life = redis.call('PTTL', KEYS[i])
    if life >= 0 then redis.call('PEXPIRE', index, life) else redis.call('PERSIST', index) end
  end
end
local record = VALUE .. stamp .. ARGV[4]
if ttl > 0 then redis.call('SET', KEYS[1], record, 'PX', ttl) else redis.call('SET', KEYS[1], record) end
changes(KEYS[1])
if token ~= '' then
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('DEL', KEYS[2])
    changes(KEYS[2])
  end
  redis.call('STRLEN', KEYS[1])  -- a read: changes are announced from here on
end
answer[3] = stamp
return answer
"""
)

# KEYS: keys. ARGV: milliseconds to live, 0 for ever; then for each key the head behind the stamp, and the
# body. Stores values by hand that bear no tags, and answers with their stamp.
STORE_MANY = _script(
    _NOW
    + """
local stamp, ttl = now(), tonumber(ARGV[1])
local start = '\\193V' .. stamp
for i, name in ipairs(KEYS) do
  if ttl > 0 then
    redis.call('SET', name, start .. ARGV[i + 1], 'PX', ttl)
  else
    redis.call('SET', name, start .. ARGV[i + 1])
  end
end
return stamp
"""
)

# KEYS: keys. ARGV: a channel or '', who asks, then for each key the stamp up to which it is deleted. Answers
# how many values there were, and the time. A key that holds nothing announces nothing: its name is published.
DROP = _script(
    _NOW
    + _HEADS
    + """
local count = 0
for i, name in ipairs(KEYS) do
  local kind, since, holder = head(name)
  if (kind ~= VALUE and kind ~= LEASE) or since <= ARGV[i + 2] then
    if redis.call('DEL', name) == 0 then
      if ARGV[1] ~= '' then redis.pcall('PUBLISH', ARGV[1], ARGV[2] .. name) end
    else
      changes(name)
      if kind ~= LEASE then count = count + 1 end
    end
  end
end
return {count, now()}
"""
)

# KEYS: the record of the last tag that ended, the tags' records; or one of them. ARGV: a channel; who asks; a
# stamp, or '' for now; the least life of a record; how many values are deleted here, and not in steps; which
# key is of the last tag that ended; '' if another such command tells those who load. Answers how many values
# were, the time, then for each tag an index to go on with, or ''. Values of an index that is on its way to
# another node are dead all the same.
END_TAGS = _script(
    _NOW
    + _BEARS
    + """
local time = now()
local answer = {0, time}
local function finish(tag, stamp)
  local index = tag .. '#'
  local size = redis.pcall('ZCARD', index)
  if type(size) ~= 'number' or size == 0 then return '' end
  if size > tonumber(ARGV[5]) then
    local renamed = redis.pcall('RENAME', index, index .. stamp)
    return renamed.ok and index .. stamp or ''
  end
  answer[1] = answer[1] + reclaim(redis.call('ZRANGE', index, 0, -1), tag, stamp)
  redis.call('UNLINK', index)
  return ''
end
for _, tag in ipairs(KEYS) do
  if tag == ARGV[6] then
    reads(tag)
    if redis.pcall('SET', tag, time, 'PX', ARGV[4]).ok then changes(tag) end
  else
    local dead = redis.call('GET', tag)
    local stamp = ARGV[3] == '' and time or ARGV[3]
    local is_known = dead and dead >= stamp
    if is_known then stamp = ARGV[3] == '' and shift(dead, 1) or dead end
    local left = redis.call('PTTL', tag)
    local set
    if is_known and ARGV[3] ~= '' then
      set = {}
    elseif left == -1 then
      set = redis.pcall('SET', tag, stamp)
    else
      set = redis.pcall('SET', tag, stamp, 'PX', string.format('%.0f', math.max(left, tonumber(ARGV[4]))))
    end
    if type(set) == 'table' and set.err then
      -- Also to whom loads what bears it, and has not read its record.
      redis.call('DEL', tag)
      redis.pcall('PUBLISH', ARGV[1], ARGV[2] .. tag)
      return set
    end
    if set.ok then
      changes(tag)
      -- To whom loads what bears it: they have not read its record.
      if ARGV[7] ~= '' then redis.pcall('PUBLISH', ARGV[1], ARGV[2] .. tag .. '!') end
    end
    answer[#answer + 1] = set.ok and finish(tag, stamp) or ''
  end
end
return answer
"""
)

# KEYS: an index that END_TAGS named, the tag's record. ARGV: how many to look at. Answers how many values
# were deleted, and how many names are left.
RECLAIM = _script(
    _BEARS
    + """
local names = {}
for i, part in ipairs(redis.call('ZPOPMIN', KEYS[1], ARGV[1])) do
  if i % 2 == 1 then names[#names + 1] = part end
end
return {reclaim(names, KEYS[2], string.sub(KEYS[1], -16)), redis.call('ZCARD', KEYS[1])}
"""
)

# KEYS: the key, its lease of renewal. ARGV: the token, milliseconds.
RENEW = _script(
    _HEADS
    + """
local kind, _, holder = head(KEYS[1])
if kind == LEASE and holder == ARGV[1] then
  changes(KEYS[1])
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if redis.call('GET', KEYS[2]) == ARGV[1] then
  changes(KEYS[2])
  return redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return 0
"""
)

# KEYS: the key, its lease of renewal. ARGV: the token. The load is given up: whoever waits goes on. Its
# failure may be remembered, so the key is read: changes are announced from here on.
GIVE_UP = _script(
    _HEADS
    + """
local kind, _, holder = head(KEYS[1])
if kind == LEASE and holder == ARGV[1] then
  redis.call('DEL', KEYS[1])
  changes(KEYS[1])
  redis.call('STRLEN', KEYS[1])
  return 1
end
if redis.call('GET', KEYS[2]) == ARGV[1] then
  changes(KEYS[2])
  return redis.call('DEL', KEYS[2])
end
return 0
"""
)
