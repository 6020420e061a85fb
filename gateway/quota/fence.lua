-- What became of the last call of a process, and that no call up to a number is done any more.
--
-- KEYS[1]  what is remembered of the process       ARGV[1]  the number
-- returns  the number of the last call that was done, and its answer
local fence, last, answer = 0, 0, ''
local stored = redis.pcall('GET', KEYS[1])
local ok, found = pcall(cmsgpack.unpack, stored)
if ok and type(found) == 'table' and type(found[1]) == 'number' then fence, last, answer = unpack(found) end
fence = math.max(fence, tonumber(ARGV[1]))
redis.call('SET', KEYS[1], cmsgpack.pack({ fence, last, answer }), 'EX', 2 * 86400)
return { last, answer }
