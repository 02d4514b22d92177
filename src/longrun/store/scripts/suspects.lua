-- The suspects that a worker is to run: those of groups that it holds, and of up to so many that no other worker holds. A group is held for one lease, and
-- renewed by each call, so that it stays together and no two workers start a runner for it.
-- A group that it has no runner for now is returned but not held: who has one first takes it.
-- ARGV: worker, lease ms, most groups that it may come to hold beside those it has, groups not to be held (each between spaces), lane, lane, … (<= 90). Returns {lane, level (9 − priority), id, group, …}.
pass_when_full()
local room, held, out = tonumber(ARGV[3]), {}, {}

local function holds(group)
  if held[group] == nil then
    local key = P .. 'held:' .. group
    local holder = redis.call('GET', key)
    local loose = string.find(ARGV[4], ' ' .. group .. ' ', 1, true)
    held[group] = holder == ARGV[1] or (not holder and (loose or room > 0))
    if loose and holder == ARGV[1] then redis.call('DEL', key) end
    if held[group] and not loose then
      if not holder then room = room - 1 end
      redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    end
  end
  return held[group]
end

local sets = {}
for i = 5, #ARGV do sets[i - 4] = suspects_of(ARGV[i]) end
for _, i in ipairs(present(sets)) do
  local lane, waiting = ARGV[i + 4], redis.call('HGETALL', sets[i])
  for at = 1, #waiting, 2 do
    local id, group = waiting[at], waiting[at + 1]
    local r = redis.call('HMGET', record(id), 'status', 'priority', 'suspect')
    if r[1] ~= 'queued' then
      redis.call('HDEL', sets[i], id)
    elseif holds(r[3] or group) then
      local n = #out
      out[n + 1], out[n + 2], out[n + 3], out[n + 4] = lane, int(9 - r[2]), id, r[3] or group
    end
  end
end
return out
