-- A piece of the listing, newest first. ARGV: index name, tenant, cursor score, cursor id ('' = from the newest), how many to look at (<= 100),
-- oldest created ms, then any of the pairs model|status|tag and its value ('tag' as JSON text).
-- Returns {looked at, last score, last id, id, values, id, values, …}.
local index, n = P .. ARGV[1] .. ':' .. ARGV[2], tonumber(ARGV[5])
local start = 0
if ARGV[4] ~= '' then
  local rank = redis.call('ZREVRANK', index, ARGV[4])
  -- The cursor's job may have been deleted since: go on below its time.
  start = rank and rank + 1 or redis.call('ZCOUNT', index, '(' .. ARGV[3], '+inf')
end
local found = redis.call('ZREVRANGE', index, start, start + n - 1, 'WITHSCORES')
local out, oldest, t = {#found / 2, ARGV[3], ARGV[4]}, tonumber(ARGV[6]), now()
for i = 1, #found, 2 do
  local id, score = found[i], found[i + 1]
  out[2], out[3] = score, id
  if tonumber(score) < oldest then
    out[1] = 0
    break
  end
  local r = redis.call('HMGET', record(id), 'model', 'status', 'tags', 'gone', 'expires')
  local fits = r[2] and not r[4] and not (r[5] and tonumber(r[5]) <= t)
  for j = 7, #ARGV, 2 do
    local what, want = ARGV[j], ARGV[j + 1]
    if what == 'model' then fits = fits and r[1] == want
    elseif what == 'status' then fits = fits and r[2] == want
    else fits = fits and r[3] and string.find(r[3], want, 1, true) end
  end
  if fits then
    out[#out + 1] = id
    out[#out + 1] = redis.call('HMGET', record(id), unpack(FIELDS))
  end
end
return out
