-- Which levels have changed since a process looked last, and those that it asks for; nothing is changed.
--
-- KEYS     how many calls the tag has had; which levels were changed, by the count of calls; then levels that are asked for
-- ARGV     the generation and the count of calls up to which it has seen what changed (-1: it has seen nothing)
-- returns  in MessagePack: now, the tag's count of calls {generation, count}, whether it has to begin anew, and for each level
--          its key and its value ('': there is none)
-- Where more has changed than one answer should hold, a process begins anew: it asks for all levels that it needs.
local MOST, AT_ONCE = 4000, 1000

local time = redis.call('TIME')
local found = { tonumber(time[1] + time[2] / 1e6), { '', 0 }, false, {} }

local stored = redis.pcall('GET', KEYS[1])
local ok, calls = pcall(cmsgpack.unpack, stored)
if ok and type(calls) == 'table' and type(calls[1]) == 'string' and type(calls[2]) == 'number' then
  found[2] = { calls[1], calls[2] }
end

local names, since = {}, tonumber(ARGV[2])
for place = 3, #KEYS do names[place - 2] = KEYS[place] end
if since >= 0 and found[2][1] ~= ARGV[1] then
  found[3] = true
elseif since >= 0 and since < found[2][2] then
  local changed = redis.pcall('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf')
  found[3] = changed.err ~= nil or #changed > MOST
  if not found[3] then
    for _, name in ipairs(changed) do names[#names + 1] = name end
  end
end

for first = 1, #names, AT_ONCE do
  local some = { unpack(names, first, math.min(#names, first + AT_ONCE - 1)) }
  for place, value in ipairs(redis.call('MGET', unpack(some))) do
    found[4][#found[4] + 1] = { some[place], value or '' }
  end
end
return cmsgpack.pack(found)
