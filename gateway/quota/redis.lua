-- The ledger in Redis: apply operations, debit for each request the first deployment whose buckets all have room, tell the
-- levels. One call, one round trip, all or nothing. The arithmetic is that of buckets.py, function by function, name by name.
--
-- KEYS     what is remembered of the calling process; how many calls its tag has had; whether a request was refused lately;
--          which levels were changed, by the count of calls; whose turn it is at which bucket; then the buckets' levels
-- ARGV[1]  in MessagePack: now (negative: ask the clock of Redis), the number of this call among those of its process, the
--          number of the last call that it had an answer to, the highest count of calls that it has seen of the tag, for each
--          bucket its rule {window, period, limit, calendar, kind, edge, withheld}, the operations {bucket, {what, …}}, and the asks
--          {reservation, {{{bucket, amount}, …}, …}, client, how many of its requests wait there, its priority, whether it is for a
--          call}, how many calls of the process were debited before
-- ARGV[2]  the channel that is told when something was freed after a request had been refused, and by which process
-- returns  in MessagePack: now, a status (0, or why nothing was done), for each ask {place of the deployment that was
--          debited or -1, for each before it {bucket, opens in seconds or NEVER or FREED}}, the levels that are not blank
--          {bucket, value}, as they are stored, the tag's count of calls {generation, count}, and the buckets whose value was
--          set aside
-- A call that is repeated gets the answer that it had. One that comes when a later one has been made is not done (LATE).
-- The count of a tag's calls only grows. One that is lower than it was seen, or an answered call that is not remembered, means
-- that memory was lost: nothing is done (FORGOT), and a new generation begins, so that every other process finds it out, too.
-- Then nothing is given for QUIET_FOR seconds, in which all of them look and tell what they knew: together they know all.
-- Where clients have waited in vain, at whatever gateways, a bucket's room goes to them by priority, and then by start-time fair
-- queueing: a client that was served more than one of its priority that waits is held, for HELD_FOR seconds, and the others are told to try. A client that does not
-- come within COMES_IN seconds is waited for no longer.
-- A calendar window cannot be computed here, so its rule brings the moments where windows begin, around the caller's now.
-- If the caller's clock is so far off that none of them holds now, nothing is done (ELSEWHEN): it asks again with our now.
-- A value that is no level of this format is renamed, for a day, and its bucket is closed until whatever it may have counted
-- has left the window. A level says by which kind of window it was counted, of a calendar in which zone: if the rule has another, all of it counts as new.

local DONE, ELSEWHEN, FORGOT, LATE = 0, -2, -3, -4
local PROCESS, CALLS, WAITING, CHANGED, TURNS, BEFORE_LEVELS = 1, 2, 3, 4, 5, 5
local HELD_FOR, COMES_IN, WAITS_FOR, MOST_TURNS = 0.03, 0.25, 15, 64
local FORMAT, REMEMBERED_FOR, ASIDE_FOR, WAITING_FOR, QUIET_FOR, MOST_CHANGED, RESTORED_FOR, DEBITED_FOR = 4, 2 * 86400, 86400, 600, 2, 20000, 3600, 90 * 86400
local FIELDS = { 'n', 'n', 'slots', 'leases', 'n', 'n', 'n', 's', 'n', 'n', 's', 's', 'n' }
local SLOTS, LEASE, LEARNED_FOR, EPSILON, NONE, NEVER, FREED = 300, 900, 86400, 1e-6, -1, -1, -2
local REFILL_LAG, STRETCHES = 0.1, 24

-- A level's fields, as in buckets.Level. The slots of a refilling window are one list here, {from, to, from, to, …}, and so is
-- what counts in the next of a clock's or calendar's windows, {end, amount}. Those of a rolling window are one text of two doubles each, the number and the amount, and USED is what they add up to: of hundreds of
-- them a request concerns the first and the last.
local USED, SINCE, SLOT, LEASES, OPEN, LAST = 1, 2, 3, 4, 5, 6
local CLOSED, BECAUSE, LIMIT, LIMIT_UNTIL, LIMIT_BY, SAID_BY, SAID_AT = 7, 8, 9, 10, 11, 12, 13
local WINDOW, PERIOD, CEILING, CALENDAR, KIND, EDGE, WITHHELD = 1, 2, 3, 4, 5, 6, 7

local floor, max, min, ceil = math.floor, math.max, math.min, math.ceil
local sub, rep = string.sub, string.rep
local PAIR, WIDTH = '<dd', 16

local function slot_at(slots, place) return struct.unpack(PAIR, slots, place) end

local function slot(number, amount) return struct.pack(PAIR, number, amount) end

local function no_slots(window) return window == 'rolling' and '' or {} end

local function window_of(rule, now)
  local moments = rule[CALENDAR]
  if #moments == 0 then
    local start = floor(now / rule[PERIOD]) * rule[PERIOD]
    return start, start + rule[PERIOD]
  end
  local place = 1
  while place < #moments - 1 and moments[place + 1] <= now do place = place + 1 end
  return moments[place], moments[place + 1]
end

local function limit_of(rule, level, now)
  if level[LIMIT] >= 0 and now < level[LIMIT_UNTIL] then return level[LIMIT] end
  return rule[CEILING]
end

local function slot_of(rule) return rule[PERIOD] / SLOTS end

local function leaves(rule, number) return (number + 1) * slot_of(rule) + rule[PERIOD] + REFILL_LAG end

local function kept(list, keep)
  local found = {}
  for _, entry in ipairs(list) do
    if keep(entry) then found[#found + 1] = entry end
  end
  return found
end

-- *slots* without their first *count* numbers.
local function without_first(slots, count)
  return count == 0 and slots or { unpack(slots, count + 1) }
end

local function remember_empty(rule, level, start, finish)
  start = max(start, finish - rule[PERIOD])
  local slots = {}
  for i = 1, #level[SLOT], 2 do
    if level[SLOT][i + 1] > finish - rule[PERIOD] then
      slots[#slots + 1], slots[#slots + 2] = level[SLOT][i], level[SLOT][i + 1]
    end
  end
  if #slots > 0 and slots[#slots] >= start - EPSILON then
    slots[#slots], start = nil, slots[#slots - 1]
    slots[#slots] = nil
  elseif #slots == 2 * STRETCHES then
    local until_then, from = table.remove(slots, 4), table.remove(slots, 3)
    slots[2] = slots[2] + until_then - from
  end
  slots[#slots + 1], slots[#slots + 2] = start, finish
  level[SLOT] = slots
end

local function after_refill(rule, level, amount, at)
  local rate, left = limit_of(rule, level, level[SINCE]) / rule[PERIOD], {}
  local function leave(start, finish)
    if start < finish then left[#left + 1], left[#left + 2] = start, finish end
  end
  for i = 1, #level[SLOT], 2 do
    local start, finish = level[SLOT][i], level[SLOT][i + 1]
    local begin = max(start, at)
    if rate > 0 and amount > 0 and begin < finish then
      local needed = min(finish, begin + amount / rate)
      amount = max(0, amount - (needed - begin) * rate)
      leave(start, begin)
      leave(needed, finish)
    else
      leave(start, finish)
    end
  end
  level[SLOT] = without_first(left, max(0, #left - 2 * STRETCHES))
  return amount
end

-- How much of the window before counts in the one that begins at *start*.
local function carried(level, start)
  return level[SLOT][1] == start and level[SLOT][2] or 0
end

local function roll(rule, level, now)
  local window = rule[WINDOW]
  if window == 'clock' or window == 'calendar' then
    local start = window_of(rule, now)
    if level[SINCE] < start then level[USED], level[SINCE], level[SLOT] = carried(level, start), start, {} end
  elseif window == 'refill' then
    local gone = now - level[SINCE]
    if gone > 0 then
      local rate = limit_of(rule, level, now) / rule[PERIOD]
      local left = level[USED] - gone * rate
      if left < 0 then
        remember_empty(rule, level, now + left / rate, now)
        left = 0
      end
      level[USED], level[SINCE] = left, now
    end
  elseif window == 'rolling' then
    local slots, first = level[SLOT], 1
    while first < #slots do
      local number, amount = slot_at(slots, first)
      if leaves(rule, number) > now then break end
      first, level[USED] = first + WIDTH, level[USED] - amount
    end
    if first > 1 then level[SLOT] = sub(slots, first) end
    if level[SLOT] == '' then level[USED] = 0 end
  elseif #level[LEASES] > 0 then
    level[LEASES] = kept(level[LEASES], function(lease) return lease[2] > now end)
  end
end

local function used(rule, level)
  if rule[WINDOW] == 'in-flight' then return #level[LEASES] end
  return level[USED]
end

local function opens_at(rule, level, amount, now)
  local limit = limit_of(rule, level, now)
  if amount > limit + EPSILON then return NEVER end
  local earliest = max(now, level[CLOSED])
  local excess = used(rule, level) + amount + rule[WITHHELD] - limit
  if excess <= EPSILON then return earliest end
  local window = rule[WINDOW]
  if window == 'clock' or window == 'calendar' then
    local _, finish = window_of(rule, now)
    if carried(level, finish) + amount + rule[WITHHELD] - limit > EPSILON then _, finish = window_of(rule, finish) end
    return max(earliest, finish)
  elseif window == 'refill' then
    return max(earliest, max(now, level[SINCE]) + excess * rule[PERIOD] / limit)
  elseif window == 'rolling' then
    for place = 1, #level[SLOT], WIDTH do
      local number, amount = slot_at(level[SLOT], place)
      excess = excess - amount
      if excess <= EPSILON then return max(earliest, leaves(rule, number)) end
    end
    return max(earliest, now + rule[PERIOD])
  end
  return earliest > now and earliest or FREED
end

local function count_open(level, now)
  if now > level[LAST] + LEASE then level[OPEN] = 0 end
  level[OPEN] = level[OPEN] + 1
  level[LAST] = max(level[LAST], now)
end

local function correct_slot(level, number, amount)
  local slots = level[SLOT]
  local place, found, before = #slots + 1, nil, nil -- the first that is not older
  while place > 1 do
    local other, debited = slot_at(slots, place - WIDTH)
    if other < number then break end
    place, found, before = place - WIDTH, other, debited
  end
  if found == number then
    local left = before + amount
    level[SLOT] = sub(slots, 1, place - 1) .. (left > 0 and slot(number, left) or '') .. sub(slots, place + WIDTH)
    level[USED] = level[USED] + (left > 0 and amount or -before)
  elseif amount > 0 then
    level[SLOT] = sub(slots, 1, place - 1) .. slot(number, amount) .. sub(slots, place)
    level[USED] = level[USED] + amount
  end
  if level[SLOT] == '' then level[USED] = 0 end
end

local function carry(rule, level, amount, at)
  local _, finish = window_of(rule, at)
  if finish - rule[EDGE] <= at and level[SINCE] < finish then
    local left = carried(level, finish) + amount
    level[SLOT] = left > 0 and { finish, left } or {}
  end
end

local function correct(rule, level, amount, at)
  local window = rule[WINDOW]
  if window == 'rolling' then
    correct_slot(level, floor(at / slot_of(rule)), amount)
  elseif window == 'refill' then
    if amount > 0 then amount = after_refill(rule, level, amount, at + REFILL_LAG) end
    level[USED] = max(0, level[USED] + amount)
  elseif window ~= 'in-flight' and level[SINCE] - rule[EDGE] <= at then
    level[USED] = max(0, level[USED] + amount)
    carry(rule, level, amount, at)
  end
end

local function debit(rule, level, amount, now, lease)
  local window = rule[WINDOW]
  if window == 'rolling' then
    correct_slot(level, floor(now / slot_of(rule)), amount) -- a debit is found again by its own slot, and never in a later one
  elseif window == 'in-flight' then
    table.insert(level[LEASES], { lease, now + LEASE })
  elseif window == 'refill' then
    if level[USED] <= 0 then level[SINCE] = now + REFILL_LAG end
    level[USED] = level[USED] + amount
  else
    correct(rule, level, amount, now)
  end
  count_open(level, now)
end

local function debit_late(rule, level, amount, at, now, lease)
  if rule[WINDOW] ~= 'in-flight' then
    correct(rule, level, amount, at)
  elseif at + LEASE > now then
    table.insert(level[LEASES], { lease, at + LEASE })
  end
  count_open(level, at)
end

local function release(level, lease, at)
  if at >= level[LAST] - LEASE then -- else it is one of those that were given up, and counted no more
    level[OPEN] = max(0, level[OPEN] - 1)
  end
  if #level[LEASES] > 0 then
    level[LEASES] = kept(level[LEASES], function(other) return other[1] ~= lease end)
  end
end

local function keep_newest(level, amount)
  local slots, left, first = level[SLOT], amount, ''
  local place = #slots + 1
  while place > 1 and left > EPSILON do
    place = place - WIDTH
    local number, debited = slot_at(slots, place)
    first, left = slot(number, min(debited, left)), left - debited
  end
  level[SLOT], level[USED] = first .. sub(slots, place + #first), first == '' and 0 or amount - max(0, left)
end

local function set_used(rule, level, amount, now)
  if rule[WINDOW] == 'rolling' then
    local more = amount - used(rule, level)
    if more > 0 then correct(rule, level, more, now) else keep_newest(level, amount) end
  else
    level[USED] = amount
  end
end

local function refill(rule, level, since, now)
  if rule[WINDOW] ~= 'refill' then return 0 end
  return max(0, now - since) * limit_of(rule, level, now) / rule[PERIOD]
end

local function speaks_of_another_window(rule, level, asked_at, at, now)
  local window = rule[WINDOW]
  if window == 'clock' or window == 'calendar' then return asked_at < level[SINCE] end
  if window == 'rolling' then return at <= now - rule[PERIOD] end
  return window == 'in-flight'
end

local function learn(rule, level, limit, remaining, by, asked_at, at, now)
  if limit >= 0 then
    if limit == rule[CEILING] then
      level[LIMIT], level[LIMIT_UNTIL], level[LIMIT_BY] = NONE, 0, ''
    else
      level[LIMIT], level[LIMIT_UNTIL], level[LIMIT_BY] = limit, at + LEARNED_FOR, by
    end
  end
  if remaining >= 0 and not speaks_of_another_window(rule, level, asked_at, at, now) then
    local theirs = max(0, limit_of(rule, level, now) - remaining - refill(rule, level, at, now))
    local ours = used(rule, level)
    local quiet = level[OPEN] == 0 or now > level[LAST] + LEASE
    local newest = asked_at >= level[LAST] and asked_at >= level[SAID_AT]
    if theirs > ours or (theirs < ours and quiet and newest) then set_used(rule, level, theirs, min(at, now)) end
  end
  level[SAID_BY], level[SAID_AT] = by, max(level[SAID_AT], at)
end

local function reopens_at(rule, now)
  local window = rule[WINDOW]
  if window == 'clock' or window == 'calendar' then
    local _, finish = window_of(rule, now)
    return finish
  elseif window == 'refill' then
    return now + rule[PERIOD] / rule[CEILING]
  elseif window == 'rolling' then
    return now + rule[PERIOD]
  end
  return now + 1
end

local function close_until(level, finish, because)
  if finish > level[CLOSED] then level[CLOSED], level[BECAUSE] = finish, because end
end

local function close(rule, level, seconds, because, at)
  close_until(level, seconds >= 0 and at + seconds or reopens_at(rule, at), because)
end

local function draining(number, amount, rest, each)
  local slots = { number, amount }
  while rest > 0 and each > 0 do
    number = number + 1
    slots[#slots + 1], slots[#slots + 2] = number, min(each, rest)
    rest = rest - each
  end
  return slots
end

local function fill(rule, level, amount, seconds, by, at, now)
  local opens, limit = at + seconds, limit_of(rule, level, now)
  if rule[WINDOW] == 'refill' then
    level[USED] = max(level[USED], limit - amount + (opens - max(now, level[SINCE])) * limit / rule[PERIOD])
  elseif rule[WINDOW] == 'rolling' and seconds < rule[PERIOD] then
    local length, taken, left, first = slot_of(rule), used(rule, level), 0, nil
    for place = 1, #level[SLOT], WIDTH do
      local number, debited = slot_at(level[SLOT], place)
      left = left + debited
      if left >= amount then first = number break end
    end
    if first and leaves(rule, first) <= opens + length then
      set_used(rule, level, max(limit, taken), at)
      close_until(level, opens, by)
    else
      local more = limit - taken
      if more < amount then level[SLOT], level[USED], more = '', 0, max(limit, taken) end
      local number = ceil((opens - rule[PERIOD] - REFILL_LAG) / length) - 1
      local pieces = draining(number, amount, more - amount, limit / SLOTS)
      for i = 1, #pieces, 2 do correct(rule, level, pieces[i + 1], (pieces[i] + 0.5) * length) end
    end
  else
    close_until(level, opens, by)
  end
  level[SAID_BY], level[SAID_AT] = by, max(level[SAID_AT], at)
end

local function empty_for(rule, level, now)
  local total = 0
  for i = 1, #level[SLOT], 2 do
    total = total + max(0, level[SLOT][i + 1] - max(level[SLOT][i], now - rule[PERIOD]))
  end
  return total
end

-- *before* is what others knew, as it was restored: what has been counted since then goes on top of what all of them knew.
local function restore(rule, level, known, before, now)
  roll(rule, known, now)
  roll(rule, before, now)
  local theirs, ours, restored = used(rule, known), used(rule, level), used(rule, before)
  local busier = rule[WINDOW] == 'refill' and empty_for(rule, known, now) < empty_for(rule, level, now)
  if ours <= restored + EPSILON and (theirs > ours or theirs == ours and busier) then
    level[USED], level[SINCE], level[SLOT] = known[USED], known[SINCE], known[SLOT]
  elseif theirs > restored then
    correct(rule, level, theirs - restored, max(known[LAST], level[SINCE]))
  end
  local have = {}
  for _, lease in ipairs(level[LEASES]) do have[lease[1]] = true end
  for _, lease in ipairs(known[LEASES]) do
    if not have[lease[1]] then table.insert(level[LEASES], lease) end
  end
  if known[CLOSED] > level[CLOSED] then level[CLOSED], level[BECAUSE] = known[CLOSED], known[BECAUSE] end
  if level[LIMIT] < 0 and known[LIMIT] >= 0 then
    level[LIMIT], level[LIMIT_UNTIL], level[LIMIT_BY] = known[LIMIT], known[LIMIT_UNTIL], known[LIMIT_BY]
  end
  level[OPEN], level[LAST] = max(level[OPEN], known[OPEN]), max(level[LAST], known[LAST])
end

local function refilled_at(rule, level, now)
  local window = rule[WINDOW]
  if window == 'clock' or window == 'calendar' then
    local _, finish = window_of(rule, now)
    return finish
  elseif window == 'refill' then
    local limit = limit_of(rule, level, now)
    return max(now, level[SINCE]) + level[USED] * rule[PERIOD] / (limit > 0 and limit or EPSILON)
  elseif window == 'rolling' then
    return level[SLOT] ~= '' and leaves(rule, (slot_at(level[SLOT], #level[SLOT] - WIDTH + 1))) or now
  end
  local last = now
  for _, lease in ipairs(level[LEASES]) do last = max(last, lease[2]) end
  return last
end

local function fades_at(rule, level, now)
  local full = used(rule, level) > 0 and refilled_at(rule, level, now) or now
  local counted_on = 0
  if #level[SLOT] > 0 and (rule[WINDOW] == 'clock' or rule[WINDOW] == 'calendar') then
    local _, finish = window_of(rule, level[SLOT][1])
    counted_on = finish
  end
  local learned = level[LIMIT] >= 0 and level[LIMIT_UNTIL] or 0
  local busy = level[OPEN] > 0 and level[LAST] + LEASE or 0
  local said = level[SAID_BY] ~= '' and level[SAID_AT] + LEARNED_FOR or 0
  return max(full, counted_on, level[CLOSED], learned, busy, said)
end

local APPLY = {
  debit = function(rule, level, now, amount, at, lease) debit_late(rule, level, amount, at, now, lease) end,
  settle = function(rule, level, _, amount, at, lease, ended_at)
    if amount ~= 0 then
      correct(rule, level, amount, amount > 0 and rule[WINDOW] == 'refill' and ended_at or at)
    end
    release(level, lease, at)
  end,
  correct = function(rule, level, _, amount, at)
    correct(rule, level, amount, at)
    level[LAST] = max(level[LAST], at)
  end,
  learn = function(rule, level, now, limit, remaining, by, asked_at, at)
    learn(rule, level, limit, remaining, by, asked_at, at, now)
  end,
  close = function(rule, level, _, seconds, because, at) close(rule, level, seconds, because, at) end,
  full = function(rule, level, now, amount, seconds, by, at) fill(rule, level, amount, seconds, by, at, now) end,
  open = function(_, level) level[CLOSED], level[BECAUSE] = 0, '' end,
  abandon = function(_, level, _, process)
    level[LEASES] = kept(level[LEASES], function(lease) return sub(lease[1], 1, #process) ~= process end)
    level[OPEN] = 0
  end,
  restore = function(rule, level, now, known, before) restore(rule, level, known, before, now) end,
}

local FREES = {
  settle = function(rule, amount) return amount < 0 or rule[WINDOW] == 'in-flight' end,
  learn = function() return true end,
  open = function() return true end,
  abandon = function() return true end,
}

-- ── values that are not what they should be ──

local function is_number(value) return type(value) == 'number' and value == value end

local function all_numbers(list)
  for i = 1, #list do
    if list[i] * 1 ~= list[i] then return false end -- no number, or a text that could be one
  end
  return true
end

local function are_numbers(list)
  if type(list) ~= 'table' then return false end
  local ok, numbers = pcall(all_numbers, list)
  return ok and numbers and #list % 2 == 0
end

local function are_leases(list)
  if type(list) ~= 'table' then return false end
  for _, pair in ipairs(list) do
    if type(pair) ~= 'table' or type(pair[1]) ~= 'string' or not is_number(pair[2]) then return false end
  end
  return true
end

local IS = {
  n = is_number,
  s = function(value) return type(value) == 'string' end,
  slots = function(value, kind)
    if kind == 'rolling' then return type(value) == 'string' and #value % WIDTH == 0 end
    return are_numbers(value)
  end,
  leases = are_leases,
}

local function unpacked(text, length)
  local ok, found = pcall(cmsgpack.unpack, text)
  if ok and type(found) == 'table' and #found == length then return found end
end

local function is_level(level, kind)
  if type(level) ~= 'table' or #level ~= #FIELDS then return false end
  for place, name in ipairs(FIELDS) do
    if not IS[name](level[place], kind) then return false end
  end
  return true
end

-- A list of slots as one text, and what they add up to.
local function packed(slots)
  local total = 0
  for place = 2, #slots, 2 do total = total + slots[place] end
  return struct.pack('<' .. rep('dd', #slots / 2), unpack(slots)), total
end

-- A level, its kind, and whether it is of the format before, in which slots of rolling windows were lists.
local function read_level(text)
  local found = unpacked(text, 3)
  if not found or type(found[2]) ~= 'string' then return end
  local version, kind, level = unpack(found)
  local before = version == FORMAT - 1
  if not before and version ~= FORMAT then return end
  if before and kind == 'rolling' and type(level) == 'table' and is_number(level[USED]) and are_numbers(level[SLOT]) then
    level[SLOT], level[USED] = packed(level[SLOT])
  end
  if is_level(level, kind) then return level, kind, before end
end

local function set_aside(key)
  redis.call('RENAME', key, key .. ':aside')
  redis.call('EXPIRE', key .. ':aside', ASIDE_FOR)
end

-- A value of *length* fields whose first is a *first*; one that is not is set aside.
local function remembered(key, length, first)
  local stored = redis.pcall('GET', key)
  if stored == false then return end
  local found = type(stored) == 'string' and unpacked(stored, length)
  if found and type(found[1]) == first then return found end
  set_aside(key)
end

local function leaves_at_last(rule, now)
  if rule[WINDOW] == 'in-flight' then return now + LEASE end
  if rule[WINDOW] == 'rolling' then return now + rule[PERIOD] + slot_of(rule) end
  if rule[WINDOW] == 'refill' then return now + rule[PERIOD] end
  local _, finish = window_of(rule, now + rule[EDGE])
  return finish
end

-- *level*, counted by a window of *kind*, as one of *rule*: all that it has counted is as new as can be.
local function counted_otherwise(rule, level, kind, now)
  local total, was = 0, { kind, rule[PERIOD], rule[CEILING], {}, kind, 0 }
  if kind == 'rolling' or kind == 'refill' then
    roll(was, level, now)
    total = used(was, level)
  elseif now < level[SINCE] + (rule[PERIOD] > 0 and rule[PERIOD] * 1.05 or 32 * 86400) then -- a day of 25 hours is one
    total = level[USED]
  end
  level[USED], level[SINCE], level[SLOT], level[LEASES] = 0, 0, no_slots(rule[WINDOW]), {}
  roll(rule, level, now)
  level[USED] = total
  if rule[WINDOW] == 'rolling' and total > 0 then level[SLOT] = slot(floor(now / slot_of(rule)), total) end
end

-- ── the call ──

local now, number, answered, seen, rules, operations, asks, debited = unpack(cmsgpack.unpack(ARGV[1]))
local debited_before = debited
if now < 0 then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1e6
end

local fence, last, answer = unpack(remembered(KEYS[PROCESS], 3, 'number') or { 0, 0, '' })
if number == last then return answer end
if number <= fence then return cmsgpack.pack({ now, LATE, {}, {}, seen, {} }) end

local calls = remembered(KEYS[CALLS], 3, 'string') or { '', 0, 0 } -- its generation, count, and when it is quiet no more
local kind_of_changed = redis.call('TYPE', KEYS[CHANGED]).ok
local odd = kind_of_changed ~= 'zset' and kind_of_changed ~= 'none'
if odd then set_aside(KEYS[CHANGED]) end
if last < answered or odd or seen[1] ~= '' and (calls[1] ~= seen[1] or calls[2] < seen[2]) then
  if odd or calls[1] == seen[1] or calls[1] == '' then calls = { KEYS[PROCESS] .. '/' .. number, 0, 0 } end
  if calls[3] == 0 then
    calls[3] = now + QUIET_FOR
    redis.call('SET', KEYS[CALLS], cmsgpack.pack(calls), 'EX', REMEMBERED_FOR)
    redis.call('DEL', KEYS[CHANGED])
  end
  return cmsgpack.pack({ now, FORGOT, {}, {}, { calls[1], calls[2] }, {} })
end

for _, rule in ipairs(rules) do
  local moments = rule[CALENDAR]
  if #moments > 0 and (now < moments[1] or now >= moments[#moments]) then
    return cmsgpack.pack({ now, ELSEWHEN, {}, {}, seen, {} })
  end
end

if calls[1] == '' then calls[1] = KEYS[PROCESS] .. '/' .. number end
calls[2] = calls[2] + 1
redis.call('SET', KEYS[CALLS], cmsgpack.pack(calls), 'EX', REMEMBERED_FOR)

local levels, values, changed, aside = {}, {}, {}, {} -- values: of levels that are as they are stored

local function blank(window) return { 0, 0, no_slots(window), {}, 0, 0, 0, '', NONE, 0, '', '', 0 } end

local function level_of(key)
  if levels[key] == nil then
    levels[key] = blank(rules[key][WINDOW])
    roll(rules[key], levels[key], now)
  end
  return levels[key]
end

local function read(key, stored)
  local name = KEYS[key + BEFORE_LEVELS]
  if not stored and redis.call('EXISTS', name) == 0 then return end
  local level, kind, before
  if stored then level, kind, before = read_level(stored) end
  if not level then
    set_aside(name)
    aside[#aside + 1] = key
    level_of(key)[CLOSED], levels[key][BECAUSE] = leaves_at_last(rules[key], now), 'its value could not be read'
    changed[key] = true
    return
  end
  levels[key] = level
  if before and kind == rules[key][WINDOW] then -- which told no zone
    changed[key] = true
  elseif kind == rules[key][KIND] then
    values[key] = stored
  else
    counted_otherwise(rules[key], level, kind, now)
  end
  roll(rules[key], level, now)
end

if #KEYS > BEFORE_LEVELS then
  for key, stored in ipairs(redis.call('MGET', unpack(KEYS, BEFORE_LEVELS + 1))) do read(key, stored) end
end

-- What was restored of a level before, since memory was lost; at first, what was left of it. The more of that and of what is
-- *known* is remembered.
local function restored_before(key, known)
  local window = rules[key][WINDOW]
  if window == 'rolling' then known[SLOT], known[USED] = packed(known[SLOT]) end -- it is told as a list
  local name = KEYS[key + BEFORE_LEVELS] .. ':restored'
  local ok, found = pcall(cmsgpack.unpack, redis.pcall('GET', name))
  local first = not ok or type(found) ~= 'table' or found[1] ~= calls[1] or not is_level(found[2], window)
  local before = first and cmsgpack.unpack(cmsgpack.pack(level_of(key))) or found[2]
  roll(rules[key], before, now)
  roll(rules[key], known, now)
  local more = used(rules[key], known) > used(rules[key], before)
  if first or more then
    redis.call('SET', name, cmsgpack.pack({ calls[1], more and known or before }), 'EX', RESTORED_FOR)
  end
  return before
end

local freed = false
for _, entry in ipairs(operations) do
  local key, operation = entry[1], entry[2]
  if operation[1] == 'restore' then operation[3] = restored_before(key, operation[2]) end
  APPLY[operation[1]](rules[key], level_of(key), now, unpack(operation, 2))
  changed[key] = true
  local frees = FREES[operation[1]]
  freed = freed or frees ~= nil and frees(rules[key], operation[2])
end

-- The bucket that makes a request wait longest, and when it opens: one that never does, else the last moment, else one that
-- opens when something is given back.
local function in_the_way(offer)
  local found, latest = nil, now
  for _, want in ipairs(offer) do
    local opens = opens_at(rules[want[1]], level_of(want[1]), want[2], now)
    if opens == NEVER then return want[1], NEVER end
    if opens == FREED then
      if found == nil then found, latest = want[1], FREED end
    elseif opens > now and opens > latest then
      found, latest = want[1], opens
    end
  end
  return found, latest
end

-- ── whose turn it is ──

-- By bucket {virtual time, {client, {served, waiting, until, priority, called}}}: nothing where no request has been refused that waits.
local stored_turns = #asks > 0 and redis.pcall('GET', KEYS[TURNS])
local ok_turns, turns = pcall(cmsgpack.unpack, stored_turns)
if not ok_turns or type(turns) ~= 'table' then turns = {} end
local turns_changed, called = false, false

local function turn_at(key, client)
  local name = KEYS[key + BEFORE_LEVELS]
  local here = turns[name]
  if here == nil then here = { 0, {} } turns[name] = here end
  if here[2][client] == nil then here[2][client] = { here[1], 0, 0, 0 } end
  return here, here[2][client]
end

-- By how much one that waits now is above *priority*; one that does not wait is below all.
local function above(turn, priority)
  return turn[2] > 0 and turn[3] > now and (turn[4] or 0) - priority or -math.huge
end

-- Whether a client of a higher priority, or of the same one that was served less, waits for the bucket, and is to come first.
local function must_wait(key, client, priority)
  local here = turns[KEYS[key + BEFORE_LEVELS]]
  if here == nil then return false end
  local mine = here[2][client] and here[2][client][1] or here[1]
  for other, turn in pairs(here[2]) do
    local higher = above(turn, priority)
    if other ~= client and (higher > 0 or higher == 0 and turn[1] < mine) then
      if turn[3] > now + COMES_IN then turn[3], turns_changed = now + COMES_IN, true end
      if not turn[5] then turn[5], turns_changed, called = true, true, true end -- once, until it has come and found no room
      return true
    end
  end
  return false
end

local function has_turn(offer, client, waiting, priority)
  if waiting == 0 or next(turns) == nil then return end
  for _, want in ipairs(offer) do
    if must_wait(want[1], client, priority) then return want[1], now + HELD_FOR end
  end
end

local function count_turn(offer, client, priority)
  for _, want in ipairs(offer) do
    if turns[KEYS[want[1] + BEFORE_LEVELS]] ~= nil then
      local here, turn = turn_at(want[1], client)
      turn[1], turn[2], turn[3], turn[5] = turn[1] + 1, max(0, turn[2] - 1), now + COMES_IN, false
      local least = turn[1]
      for _, other in pairs(here[2]) do
        if above(other, priority) >= 0 then least = min(least, other[1]) end
      end
      here[1], turns_changed = max(here[1], least), true
    end
  end
end

local function wait_for_turn(refused, held_at, client, waiting, priority)
  if waiting == 0 then return end
  for place, refusal in ipairs(refused) do
    local _, turn = turn_at(refusal[1], client)
    turn[2], turn[3] = waiting, now + (refusal[2] >= 0 and refusal[2] + COMES_IN or WAITS_FOR)
    turn[4] = priority
    if not held_at[place] then turn[5] = false end
    turns_changed = true
  end
end

local answers = {}
for _, ask in ipairs(asks) do
  local placed, refused, held_at, client, waiting, priority = NONE, {}, {}, ask[3], ask[4], ask[5]
  for place, offer in ipairs(ask[2]) do
    local found, opens = in_the_way(offer)
    if found == nil and now < calls[3] and #offer > 0 then found, opens = offer[1][1], calls[3] end
    local held = false
    if found == nil then
      found, opens = has_turn(offer, client, waiting, priority)
      held = found ~= nil
    end
    if found == nil then
      for _, want in ipairs(offer) do
        debit(rules[want[1]], level_of(want[1]), want[2], now, ask[1])
        changed[want[1]] = true
      end
      placed = place - 1
      if ask[6] and #offer > 0 then debited = debited + 1 end
      count_turn(offer, client, priority)
      break
    end
    refused[#refused + 1] = { found, opens < 0 and opens or opens - now }
    held_at[#refused] = held
  end
  answers[#answers + 1] = { placed, refused }
  if placed == NONE then
    wait_for_turn(refused, held_at, client, waiting, priority)
    redis.call('SET', KEYS[WAITING], '', 'EX', WAITING_FOR)
  end
end

-- Those who wait in vain no more are kept as long as others wait there: they were served.
if turns_changed then
  local kept_turns, count, last = {}, 0, now
  for name, here in pairs(turns) do
    local latest = now
    for _, turn in pairs(here[2]) do
      if turn[2] > 0 then latest = max(latest, turn[3]) end
    end
    if latest > now and count < MOST_TURNS then
      kept_turns[name], count, last = here, count + 1, max(last, latest)
    end
  end
  if count > 0 then
    redis.call('SET', KEYS[TURNS], cmsgpack.pack(kept_turns), 'PX', ceil((last - now) * 1000) + 1000)
  else
    redis.call('DEL', KEYS[TURNS])
  end
end

local function value_of(key)
  return cmsgpack.pack({ FORMAT, rules[key][KIND], levels[key] })
end

for key in pairs(changed) do
  local stays = fades_at(rules[key], levels[key], now) - now
  values[key] = value_of(key)
  if stays > 0 then
    redis.call('SET', KEYS[key + BEFORE_LEVELS], values[key], 'PX', ceil(stays * 1000) + 1000)
  else
    redis.call('DEL', KEYS[key + BEFORE_LEVELS])
  end
  redis.call('ZADD', KEYS[CHANGED], calls[2], KEYS[key + BEFORE_LEVELS])
end
if next(changed) ~= nil then
  redis.call('EXPIRE', KEYS[CHANGED], REMEMBERED_FOR)
  redis.call('ZREMRANGEBYRANK', KEYS[CHANGED], 0, -MOST_CHANGED - 1)
end

if debited > debited_before then redis.call('SET', KEYS[PROCESS] .. ':debited', debited .. ' ' .. ARGV[2], 'EX', DEBITED_FOR) end

if called or freed and redis.call('EXISTS', KEYS[WAITING]) == 1 then redis.call('PUBLISH', ARGV[2], KEYS[PROCESS]) end

local told = {}
for key in pairs(levels) do told[#told + 1] = { key, values[key] or value_of(key) } end
answer = cmsgpack.pack({ now, DONE, answers, told, { calls[1], calls[2] }, aside })
redis.call('SET', KEYS[PROCESS], cmsgpack.pack({ number, number, answer }), 'EX', REMEMBERED_FOR)
return answer
