"""Where processes tell each other of their circuits: four hashes in Valkey, each touched by one script in one round trip.

    tokia:circuits         circuit → reason|until|pause|level|version|by     the last transition that anybody saw
    tokia:circuits:forced  circuit → state|until                             what an administrator wants; empty: lifted again
    tokia:circuits:counts  process → at|{circuit: [succeeded, failed]}       each one's window
    tokia:circuits:probes  circuit → process|until                           who may try a half-open one

A circuit is written "deployment:credential" (deployment 0: the credential itself, at all of its deployments). Times are Valkey's
own, in ms, so that no two clocks are compared. Everything may be lost at any time: whoever has an open circuit writes it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

BOARD, FORCED, COUNTS, PROBES = "tokia:circuits", "tokia:circuits:forced", "tokia:circuits:counts", "tokia:circuits:probes"
KEYS = (BOARD, FORCED, COUNTS, PROBES)
ADMINISTRATOR = "admin"
COUNTS_SECONDS = 10.0  # older ones are of a process that is gone, or lost
KEPT_SECONDS = 3_600  # a transition that nobody renews is taken off the board
PROBE_SECONDS = 3.0  # how long a process may try a circuit before another one may

# ARGV: this process, its transitions [circuit, reason, remaining ms, pause ms, level]…, what it knows to be forced
# [circuit, state, remaining ms]…, its counts (JSON; empty: not this time), circuits that it wants to try, KEPT_SECONDS,
# PROBE_SECONDS in ms, and whether it asks for the others' counts. Gives the time, the hashes, and the circuits that it may try.
SYNC = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local me = ARGV[1]
for _, change in ipairs(cjson.decode(ARGV[2])) do
  redis.call('HSET', KEYS[1], change[1], string.format('%s|%d|%d|%d|%s%06d|%s', change[2], now + change[3], change[4], change[5],
             t[1], t[2], me))
end
for _, force in ipairs(cjson.decode(ARGV[3])) do
  redis.call('HSETNX', KEYS[2], force[1], string.format('%s|%d', force[2], now + force[3]))
  if redis.call('PTTL', KEYS[2]) < force[3] then redis.call('PEXPIRE', KEYS[2], force[3]) end
end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[3], me, string.format('%d|%s', now, ARGV[4])) end
local granted = {}
for _, circuit in ipairs(cjson.decode(ARGV[5])) do
  local owner, till = string.match(redis.call('HGET', KEYS[4], circuit) or '', '^(.*)|(%d+)$')
  if not owner or owner == me or tonumber(till) < now then
    redis.call('HSET', KEYS[4], circuit, string.format('%s|%d', me, now + ARGV[7]))
    granted[#granted + 1] = circuit
  end
end
local function read(key, pattern, age)
  local kept, all = {}, redis.call('HGETALL', key)
  for place = 1, #all, 2 do
    local at = tonumber(string.match(all[place + 1], pattern))
    if at == nil or at < now - age then
      redis.call('HDEL', key, all[place])
    else
      kept[#kept + 1] = all[place]
      kept[#kept + 1] = all[place + 1]
    end
  end
  return kept
end
local board = read(KEYS[1], '^[^|]*|(%d+)|', ARGV[6] * 1000)
local forced, counts = read(KEYS[2], '|(%d+)$', 0), {}
if ARGV[8] == '1' then counts = read(KEYS[3], '^(%d+)|', 60000) end
read(KEYS[4], '|(%d+)$', 60000)
redis.call('EXPIRE', KEYS[1], ARGV[6] * 2)
redis.call('EXPIRE', KEYS[3], 120)
redis.call('EXPIRE', KEYS[4], 120)
return {now, board, forced, counts, granted}
"""
# ARGV: circuit, state, ms.
FORCE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local till = now + ARGV[3]
if ARGV[2] == '' then
  till = math.max(till, tonumber(string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '|(%d+)$') or '0'))
end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%s|%d', ARGV[2], till))
if redis.call('PTTL', KEYS[2]) < till - now then redis.call('PEXPIRE', KEYS[2], till - now) end
return 1
"""
# ARGV: circuit, who closes it.
CLOSE = """
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], string.format('|%d|0|0|%s%06d|%s', t[1] * 1000 + math.floor(t[2] / 1000), t[1], t[2], ARGV[2]))
redis.call('EXPIRE', KEYS[1], 7200)
return 1
"""
Circuit = tuple[int, int]  # deployment, credential
_decode_counts = msgspec.json.Decoder(dict[str, tuple[int, int]]).decode


class Transition(msgspec.Struct, frozen=True):
    """The last that anybody saw of a circuit. `reason` empty: it closed. Times in seconds from now."""

    reason: str
    remaining: float
    pause: float
    level: int
    version: bytes
    by: bytes


class Force(msgspec.Struct, frozen=True):
    state: str  # empty: no longer
    remaining: float


def name_circuit(circuit: Circuit) -> str:
    return f"{circuit[0]}:{circuit[1]}"


def read_circuit(name: bytes) -> Circuit:
    deployment, _, credential = name.partition(b":")
    return int(deployment), int(credential)


def read_board(pairs: Mapping[bytes, bytes], now_ms: int) -> dict[Circuit, Transition]:
    found = {}
    for name, raw in pairs.items():
        reason, until, pause, level, version, by = raw.split(b"|", 5)
        remaining = (int(until) - now_ms) / 1000
        found[read_circuit(name)] = Transition(reason.decode(), remaining, int(pause) / 1000, int(level), version, by)
    return found


def read_forced(pairs: Mapping[bytes, bytes], now_ms: int) -> dict[Circuit, Force]:
    found = {}
    for name, raw in pairs.items():
        state, _, until = raw.partition(b"|")
        if int(until) > now_ms:
            found[read_circuit(name)] = Force(state.decode(), (int(until) - now_ms) / 1000)
    return found


def read_counts(pairs: Mapping[bytes, bytes], now_ms: int, *, without: bytes = b"") -> dict[Circuit, tuple[int, int]]:
    """What the living processes (but one) counted in their windows, together."""
    found: dict[Circuit, tuple[int, int]] = {}
    for process, raw in pairs.items():
        at, _, counts = raw.partition(b"|")
        if process == without or now_ms - int(at) > COUNTS_SECONDS * 1000:
            continue
        for name, (succeeded, failed) in _decode_counts(counts).items():
            circuit = read_circuit(name.encode())
            known = found.get(circuit, (0, 0))
            found[circuit] = (known[0] + succeeded, known[1] + failed)
    return found


def pairs_of(flat: list[Any]) -> dict[bytes, bytes]:
    """A hash, as a script gives it."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
