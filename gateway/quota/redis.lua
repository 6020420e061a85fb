-- The ledger in Redis: take in what happened, debit the first deployment whose buckets all have room, tell the levels.
-- One call, one round trip, all or nothing. The arithmetic is that of buckets.py, function by function, name by name.
--
-- KEYS     the buckets' levels
-- ARGV[1]  in MessagePack: now (negative: ask the clock of Redis), the name of the reservation, for each key its rule
--          {window, period, limit, calendar}, what happened {key, {what, …}}, and the wanted {{key, amount}, …}
-- returns  in MessagePack: now, the place of the deployment that was debited (-1: none), for each that was passed over
--          {key, opens in seconds or -1}, and the levels that are not blank {key, level}
-- A calendar window cannot be computed here, so its rule brings the moments where windows begin, around the caller's now.
-- If the caller's clock is so far off that none of them holds now, nothing is done (place -2): it asks again with our now.

local SLOTS, LEASE, LEARNED_FOR, EPSILON, NONE, ELSEWHEN = 300, 900, 86400, 1e-6, -1, -2

-- A level's fields, as in buckets.Level.
local USED, SINCE, SLOT, LEASES, OPEN, LAST = 1, 2, 3, 4, 5, 6
local CLOSED, BECAUSE, LIMIT, LIMIT_UNTIL, LIMIT_BY, SAID_BY, SAID_AT = 7, 8, 9, 10, 11, 12, 13
local WINDOW, PERIOD, CEILING, CALENDAR = 1, 2, 3, 4

local floor, max, min, ceil = math.floor, math.max, math.min, math.ceil

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

local function leaves(rule, number) return (number + 1) * slot_of(rule) + rule[PERIOD] end

local function kept(list, keep)
  local found = {}
  for _, entry in ipairs(list) do
    if keep(entry) then found[#found + 1] = entry end
  end
  return found
end

local function roll(rule, level, now)
  local window = rule[WINDOW]
  if window == 'clock' or window == 'calendar' then
    local start = window_of(rule, now)
    if level[SINCE] < start then level[USED], level[SINCE] = 0, start end
  elseif window == 'refill' then
    local gone = max(0, now - level[SINCE])
    level[USED] = max(0, level[USED] - gone * limit_of(rule, level, now) / rule[PERIOD])
    level[SINCE] = max(level[SINCE], now)
  elseif window == 'rolling' then
    if #level[SLOT] > 0 and leaves(rule, level[SLOT][1][1]) <= now then
      level[SLOT] = kept(level[SLOT], function(slot) return leaves(rule, slot[1]) > now end)
    end
  elseif #level[LEASES] > 0 then
    level[LEASES] = kept(level[LEASES], function(lease) return lease[2] > now end)
  end
end

local function used(rule, level)
  if rule[WINDOW] == 'rolling' then
    local total = 0
    for _, slot in ipairs(level[SLOT]) do total = total + slot[2] end
    return total
  elseif rule[WINDOW] == 'in-flight' then
    return #level[LEASES]
  end
  return level[USED]
end

local function opens_at(rule, level, amount, now)
  local limit = limit_of(rule, level, now)
  if amount > limit + EPSILON then return NONE end
  local earliest = max(now, level[CLOSED])
  local excess = used(rule, level) + amount - limit
  if excess <= EPSILON then return earliest end
  local window = rule[WINDOW]
  if window == 'clock' or window == 'calendar' then
    local _, finish = window_of(rule, now)
    return max(earliest, finish)
  elseif window == 'refill' then
    return max(earliest, now + excess * rule[PERIOD] / limit)
  elseif window == 'rolling' then
    for _, slot in ipairs(level[SLOT]) do
      excess = excess - slot[2]
      if excess <= EPSILON then return max(earliest, leaves(rule, slot[1])) end
    end
    return max(earliest, now + rule[PERIOD])
  end
  local ends = {}
  for _, lease in ipairs(level[LEASES]) do ends[#ends + 1] = lease[2] end
  table.sort(ends)
  return max(earliest, ends[min(#ends, ceil(excess - EPSILON))])
end

local function debit(rule, level, amount, now, lease)
  if rule[WINDOW] == 'rolling' then
    local number, slots = floor(now / slot_of(rule)), level[SLOT]
    if amount == 0 then -- nothing to keep
    elseif #slots > 0 and slots[#slots][1] >= number then
      slots[#slots][2] = slots[#slots][2] + amount
    else
      slots[#slots + 1] = { number, amount }
    end
  elseif rule[WINDOW] == 'in-flight' then
    table.insert(level[LEASES], { lease, now + LEASE })
  else
    level[USED] = level[USED] + amount
  end
  if now > level[LAST] + LEASE then level[OPEN] = 0 end
  level[OPEN] = level[OPEN] + 1
  level[LAST] = max(level[LAST], now)
end

local function correct(rule, level, amount, at)
  local window = rule[WINDOW]
  if window == 'rolling' then
    local number, slots = floor(at / slot_of(rule)), level[SLOT]
    local place = #slots + 1
    for i, slot in ipairs(slots) do
      if slot[1] >= number then place = i break end
    end
    if place <= #slots and slots[place][1] == number then
      slots[place][2] = slots[place][2] + amount
      if slots[place][2] <= 0 then table.remove(slots, place) end
    elseif amount > 0 then
      table.insert(slots, place, { number, amount })
    end
  elseif window == 'refill' then
    level[USED] = max(0, level[USED] + amount)
  elseif window ~= 'in-flight' and level[SINCE] <= at then
    level[USED] = max(0, level[USED] + amount)
  end
end

local function release(level, lease, at)
  if at >= level[LAST] - LEASE then -- else it is one of those that were given up, and counted no more
    level[OPEN] = max(0, level[OPEN] - 1)
  end
  if #level[LEASES] > 0 then
    level[LEASES] = kept(level[LEASES], function(other) return other[1] ~= lease end)
  end
end

local function newest(slots, amount)
  local found = {}
  for i = #slots, 1, -1 do
    if amount <= EPSILON then break end
    table.insert(found, 1, { slots[i][1], min(slots[i][2], amount) })
    amount = amount - slots[i][2]
  end
  return found
end

local function set_used(rule, level, amount, now)
  if rule[WINDOW] == 'rolling' then
    local more = amount - used(rule, level)
    if more > 0 then correct(rule, level, more, now) else level[SLOT] = newest(level[SLOT], amount) end
  else
    level[USED] = amount
  end
end

local function speaks_of_another_window(rule, level, asked_at)
  local window = rule[WINDOW]
  if window == 'clock' or window == 'calendar' then return asked_at < level[SINCE] end
  return window == 'in-flight'
end

local function learn(rule, level, limit, remaining, by, asked_at, now)
  if limit >= 0 then
    if limit == rule[CEILING] then
      level[LIMIT], level[LIMIT_UNTIL], level[LIMIT_BY] = NONE, 0, ''
    else
      level[LIMIT], level[LIMIT_UNTIL], level[LIMIT_BY] = limit, now + LEARNED_FOR, by
    end
  end
  if remaining >= 0 and not speaks_of_another_window(rule, level, asked_at) then
    local theirs, ours = max(0, limit_of(rule, level, now) - remaining), used(rule, level)
    local quiet = level[OPEN] == 0 or now > level[LAST] + LEASE
    local newest = asked_at >= level[LAST] and asked_at >= level[SAID_AT]
    if theirs > ours or (theirs < ours and quiet and newest) then set_used(rule, level, theirs, now) end
  end
  level[SAID_BY], level[SAID_AT] = by, now
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

local function close(rule, level, seconds, because, at)
  local finish = seconds >= 0 and at + seconds or reopens_at(rule, at)
  if finish > level[CLOSED] then level[CLOSED], level[BECAUSE] = finish, because end
end

local function restore(rule, level, known, now)
  roll(rule, known, now)
  if used(rule, known) > used(rule, level) then
    level[USED], level[SINCE], level[SLOT] = known[USED], known[SINCE], known[SLOT]
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
    return now + level[USED] * rule[PERIOD] / (limit > 0 and limit or EPSILON)
  elseif window == 'rolling' then
    return #level[SLOT] > 0 and leaves(rule, level[SLOT][#level[SLOT]][1]) or now
  end
  local last = now
  for _, lease in ipairs(level[LEASES]) do last = max(last, lease[2]) end
  return last
end

local function fades_at(rule, level, now)
  local full = used(rule, level) > 0 and refilled_at(rule, level, now) or now
  local learned = level[LIMIT] >= 0 and level[LIMIT_UNTIL] or 0
  local busy = level[OPEN] > 0 and level[LAST] + LEASE or 0
  local said = level[SAID_BY] ~= '' and level[SAID_AT] + LEARNED_FOR or 0
  return max(full, level[CLOSED], learned, busy, said)
end

local HAPPENED = {
  correct = function(rule, level, _, amount, at) correct(rule, level, amount, at) end,
  settle = function(rule, level, _, amount, at, lease)
    if amount ~= 0 then correct(rule, level, amount, at) end
    release(level, lease, at)
  end,
  learn = function(rule, level, now, limit, remaining, by, asked_at)
    learn(rule, level, limit, remaining, by, asked_at, now)
  end,
  close = function(rule, level, _, seconds, because, at) close(rule, level, seconds, because, at) end,
  open = function(_, level) level[CLOSED], level[BECAUSE] = 0, '' end,
  restore = function(rule, level, now, known) restore(rule, level, known, now) end,
}

local now, lease, rules, happened, wanted = unpack(cmsgpack.unpack(ARGV[1]))
if now < 0 then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1e6
end

for _, rule in ipairs(rules) do
  local moments = rule[CALENDAR]
  if #moments > 0 and (now < moments[1] or now >= moments[#moments]) then
    return cmsgpack.pack({ now, ELSEWHEN, {}, {} })
  end
end

local levels, changed = {}, {}

local function level_of(key)
  if levels[key] == nil then
    levels[key] = { 0, 0, {}, {}, 0, 0, 0, '', NONE, 0, '', '', 0 }
    roll(rules[key], levels[key], now)
  end
  return levels[key]
end

for key, stored in ipairs(redis.call('MGET', unpack(KEYS))) do
  if stored then
    levels[key] = cmsgpack.unpack(stored)
    roll(rules[key], levels[key], now)
  end
end

for _, event in ipairs(happened) do
  local key, happening = event[1], event[2]
  HAPPENED[happening[1]](rules[key], level_of(key), now, unpack(happening, 2))
  changed[key] = true
end

local placed, refused = NONE, {}
for place, deployment in ipairs(wanted) do
  local in_the_way, latest = nil, now
  for _, want in ipairs(deployment) do
    local opens = opens_at(rules[want[1]], level_of(want[1]), want[2], now)
    if opens == NONE then
      in_the_way, latest = want[1], NONE
      break
    elseif opens > latest then
      in_the_way, latest = want[1], opens
    end
  end
  if in_the_way == nil then
    for _, want in ipairs(deployment) do
      debit(rules[want[1]], levels[want[1]], want[2], now, lease)
      changed[want[1]] = true
    end
    placed = place - 1
    break
  end
  refused[#refused + 1] = { in_the_way, latest == NONE and NONE or latest - now }
end

for key in pairs(changed) do
  local stays = fades_at(rules[key], levels[key], now) - now
  if stays > 0 then
    redis.call('SET', KEYS[key], cmsgpack.pack(levels[key]), 'PX', ceil(stays * 1000) + 1000)
  else
    redis.call('DEL', KEYS[key])
  end
end

local told = {}
for key in pairs(levels) do told[#told + 1] = { key, levels[key] } end
return cmsgpack.pack({ now, placed, refused, told })
