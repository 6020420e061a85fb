-- Say that a gateway lives, and hear of the others.
--
-- KEYS[1]  when each was heard last
-- ARGV     the gateway; the seconds after which one that was not heard is forgotten; now (negative: ask the clock of Redis)
-- returns  for each the seconds since it was heard
-- What is no list of heartbeats is set aside for a day; a heartbeat that is to come is none.
local now = tonumber(ARGV[3])
if now < 0 then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1e6
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then
  redis.call('RENAME', KEYS[1], KEYS[1] .. ':aside')
  redis.call('EXPIRE', KEYS[1] .. ':aside', 86400)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + 60, '+inf')
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], 3600)
local heard = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local found = {}
for i = 1, #heard, 2 do
  found[#found + 1] = { heard[i], tostring(now - heard[i + 1]) }
end
return found
