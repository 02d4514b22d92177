-- A process says which formats it can work on, and asks for the one that the data have. That is raised here, in the step that sees that all who are left can
-- work on a newer one. ARGV: its identity, JSON with `formats` {oldest, newest} ('' = it leaves), life ms, newest format it can work on, its version,
-- ms for which nobody may have stood in the way. Returns {the format, 0 = the data do not say; the one before if this has raised it, else 0}.
local who, life, newest, quiet = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local t, about = now(), P .. 'about'
pass_when_full()
if ARGV[2] == '' then
  redis.call('DEL', P .. 'process:' .. who)
  redis.call('ZREM', P .. 'processes', who)
  return {0, 0}
end
redis.call('SET', P .. 'process:' .. who, ARGV[2], 'PX', life)
redis.call('ZADD', P .. 'processes', int(t + life), who)
redis.call('ZREMRANGEBYSCORE', P .. 'processes', '-inf', int(t))
local r = redis.call('HMGET', about, 'format', 'quiet')
local format = r[1] and tonumber(r[1])
if not format then return {0, 0} end
if format >= newest then
  if r[2] then redis.call('HDEL', about, 'quiet') end
  return {format, 0}
end

local target = newest
for _, each in ipairs(redis.call('ZRANGE', P .. 'processes', 0, -1)) do
  local entry = redis.call('GET', P .. 'process:' .. each)
  if entry then target = math.min(target, cjson.decode(entry).formats[2]) end
end
-- Workers of 0.1.0 are not among them, and say nothing of `formats`; an API of 0.1.0 announces nothing at all.
local outdated = P .. 'outdated'
for _, each in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', int(t), '+inf')) do
  local entry = redis.call('GET', P .. 'worker:' .. each)
  local worker = entry and cjson.decode(entry)
  if worker and not worker.formats then
    target = math.min(target, worker.format or 1)
    redis.call('ZADD', outdated, int(t), worker.name or each)
    redis.call('PEXPIRE', outdated, DAY)
  end
end
if silent_apis() > 0 then target = math.min(target, 1) end

local since, wanted = string.match(r[2] or '', '^(%d+) (%d+)$')
if target <= format then
  redis.call('HDEL', about, 'quiet')
elseif tonumber(wanted) ~= target then
  redis.call('HSET', about, 'quiet', int(t) .. ' ' .. target)
elseif t - since >= quiet then
  redis.call('HSET', about, 'format', target, 'version', ARGV[5])
  redis.call('HDEL', about, 'quiet')
  -- A worker of 0.1.0 that nobody has heard of for a while may still be there. One that finds that another has its name ends by itself.
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', outdated, int(t - DAY), '+inf')) do
    redis.call('SET', P .. 'name:' .. name, NOBODY .. ' ' .. int(t + DAY), 'PX', DAY, 'NX')
  end
  redis.call('DEL', outdated)
  return {target, format}
end
return {format, 0}
