-- The part of the library about what a job waits for (see lib.lua).

-- A step of a job has come to an end (a child, a signal): wake the job when it has what it waits for.
local function step_ended(id, key)
  local k = record(id)
  local r = redis.call('HMGET', k, 'status', 'wake_at', 'worker')
  if not r[1] or TERMINAL[r[1]] then return end
  local ended = redis.call('RPUSH', P .. 'ends:' .. id, key)
  if not r[2] or ended < tonumber(r[2]) then return end
  if r[1] == 'waiting' then redis.call('PUBLISH', P .. 'ctl:' .. r[3], 'step ' .. id) end
end

-- The text `names` (with spaces between them) without one of them.
local function without(names, name)
  local left = {}
  for each in string.gmatch(names or '', '%S+') do
    if each ~= name then left[#left + 1] = each end
  end
  return table.concat(left, ' ')
end

-- A wait of a job is over: it has its value (JSON), or its time is over ('!').
local function end_wait(id, k, name, value)
  redis.call('HSET', P .. 'steps:' .. id, 'v:' .. name, value)
  local r = redis.call('HMGET', k, 'asks', 'over')
  if r[1] then
    redis.call('HSET', k, 'asks', without(r[1], name))
    redis.call('HINCRBY', k, 'version', 1)
    note(id, 'signal')
  end
  if value == '!' then redis.call('HSET', k, 'over', (r[2] and r[2] .. ' ' or '') .. name) end
  step_ended(id, 's:' .. name)
end
