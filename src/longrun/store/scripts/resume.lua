-- What has ended of a parent's steps since it was last told; one that waits goes on, before its code does, so that it is charged for what its code does.
-- ARGV: parent, fence, how many ends it knows of, 1 = it goes on (0 = it only asks).
-- Returns {1, how many have ended, waits (1|0), ms, then for each (<= 100): key, state, data, usage, id, due} | {0, status} (stale, or to stop).
local parent, k, journal, seen = ARGV[1], record(ARGV[1]), journal_of(ARGV[1]), tonumber(ARGV[3])
local mine, status = has_claim(k, ARGV[2])
if not mine or status == 'canceling' then return {0, status or 'gone'} end
pass_when_full()
local t = now()
close_timers(parent, k, t, redis.call('HGET', k, 'epoch') or '0')
if ARGV[4] == '1' and status == 'waiting' then
  go_on(parent, k)
  status = 'running'
end
local out, room = {1, redis.call('LLEN', ends_of(parent)), status == 'waiting' and 1 or 0, t}, ROOM
local keys = redis.call('LRANGE', ends_of(parent), seen, seen + 99)
local known = #keys > 0 and redis.call('HMGET', journal, unpack(keys)) or {}
for n, key in ipairs(keys) do
  local o = #out
  out[o + 1] = key
  out[o + 2], out[o + 3], out[o + 4], out[o + 5], out[o + 6] = result_of(journal, key, known[n] or '', t)
  room = room - #out[o + 3]
  if room <= 0 then break end
end
return out
