"""The store's operations as Lua: each is one round trip, and atomic whatever the other tasks do.

Keys of a session `<id>`, in one Redis database (cluster mode disabled, as the templates deploy it):

    mcp:session:<id>            hash: name -> value as JSON, so that a counter is a plain number to HINCRBY
    mcp:call:<id>:<key>         string "<value> <incarnation> <by> <name>": the first result of an idempotency key
    mcp:sessions                sorted set: id -> when it expires (UNIX time), to count without scanning

Every script that touches a session moves its expiry and drops at most 100 expired ids from the index, so
the work of a call is bounded and the index shrinks as it is used. Time is the Redis server's own: tasks' clocks differ.
"""

from __future__ import annotations

# What the scripts below that may create a session begin and end with.
# KEYS: session, index. ARGV: time to live, session id, "must exist" or "", a name for the session's incarnation.
_FIND = """
if ARGV[3] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then return {'unknown'} end
"""

_TOUCH = """
local now = tonumber(redis.call('TIME')[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], now + ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[1])
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)
if #expired > 0 then redis.call('ZREM', KEYS[2], unpack(expired)) end
"""

# The field without a name keeps an empty session in being (Redis has no empty hashes), and tells a session from one
# that ended before it under the same id.
_KEEP = "redis.call('HSETNX', KEYS[1], '', ARGV[4])" + _TOUCH

_IS_FULL = "redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], '') >= tonumber(ARGV[7])"

# -> {"ok"}
CREATE = _KEEP + "return {'ok'}"

# ARGV: ..., key, value, most values. -> {"unknown"}, {"full"} or {"ok", state}
WRITE = (
    _FIND
    + f"""
if redis.call('HEXISTS', KEYS[1], ARGV[5]) == 0 and {_IS_FULL} then return {{'full'}} end
redis.call('HSET', KEYS[1], ARGV[5], ARGV[6])
"""
    + _KEEP
    + "return {'ok', redis.call('HGETALL', KEYS[1])}"
)

# ARGV: time to live, session id. -> {"unknown"} or {"ok", state}
READ = (
    """
if redis.call('EXISTS', KEYS[1]) == 0 then return {'unknown'} end
"""
    + _TOUCH
    + "return {'ok', redis.call('HGETALL', KEYS[1])}"
)

# KEYS: ..., call. ARGV: ..., name, by, most values, time to live of the call.
# -> {"unknown"}, {"full"}, {"not_a_counter"}, {"overflow"}, {"key_reused"} or {"ok", value, replayed, state}.
# The value is read back as a string: as a Lua number it would lose its last digits above 2^53.
INCREMENT = (
    _FIND
    + """
local value, incarnation, arguments
local replayed = 0
local recorded = redis.call('GET', KEYS[3])
if recorded then value, incarnation, arguments = string.match(recorded, '^(%-?%d+) (%S*) (.*)$') end
local mine = redis.call('HGET', KEYS[1], '') or ARGV[4]
if incarnation == mine then
  if arguments ~= ARGV[6] .. ' ' .. ARGV[5] then return {'key_reused'} end
  replayed = 1
else
  local current = redis.call('HGET', KEYS[1], ARGV[5])
  if not current and """
    + _IS_FULL
    + """ then return {'full'} end
  if current and not string.match(current, '^%-?%d+$') then return {'not_a_counter'} end
  local sum = redis.pcall('HINCRBY', KEYS[1], ARGV[5], ARGV[6])
  if type(sum) == 'table' and sum.err then
    if string.find(sum.err, 'overflow') then return {'overflow'} end
    if string.find(sum.err, 'integer') then return {'not_a_counter'} end
    return sum
  end
  value = redis.call('HGET', KEYS[1], ARGV[5])
  redis.call('SET', KEYS[3], value .. ' ' .. mine .. ' ' .. ARGV[6] .. ' ' .. ARGV[5], 'EX', ARGV[8])
end
"""
    + _KEEP
    + "return {'ok', value, replayed, redis.call('HGETALL', KEYS[1])}"
)

# KEYS: session, index. ARGV: session id. -> whether there was one, 1 or 0
END = "redis.call('ZREM', KEYS[2], ARGV[1]); return redis.call('DEL', KEYS[1])"

# KEYS: index. -> how many sessions are alive. O(log n).
COUNT = "return redis.call('ZCOUNT', KEYS[1], '(' .. redis.call('TIME')[1], '+inf')"
