-- A piece of the listing of batches, newest first. ARGV: tenant, cursor score, cursor id ('' = from the newest), how many (<= 100), names of fields.
-- Returns {looked at, last score, last id, id, values, id, values, …}.
local index, start = P .. 'batches:' .. ARGV[1], 0
if ARGV[3] ~= '' then
  local rank = redis.call('ZREVRANK', index, ARGV[3])
  start = rank and rank + 1 or redis.call('ZCOUNT', index, '(' .. ARGV[2], '+inf')
end
local found, t = redis.call('ZREVRANGE', index, start, start + ARGV[4] - 1, 'WITHSCORES'), now()
local out = {#found / 2, ARGV[2], ARGV[3]}
for i = 1, #found, 2 do
  out[2], out[3] = found[i + 1], found[i]
  local r = redis.call('HMGET', batch_key(found[i]), 'gone', 'expires')
  if not r[1] and not (r[2] and tonumber(r[2]) <= t) then
    out[#out + 1] = found[i]
    out[#out + 1] = redis.call('HMGET', batch_key(found[i]), unpack(ARGV, 5))
  end
end
return out
