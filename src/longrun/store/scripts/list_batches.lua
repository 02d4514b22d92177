-- A piece of the listing of batches, newest first. ARGV: tenant, cursor score, cursor id ('' = from the newest), how many (<= 100), names of fields.
-- Returns {looked at, last score, last id, id, values, id, values, …}.
local found, t = page(P .. 'batches:' .. ARGV[1], ARGV[2], ARGV[3], ARGV[4]), now()
local out = {#found / 2, ARGV[2], ARGV[3]}
for i = 1, #found, 2 do
  out[2], out[3] = found[i + 1], found[i]
  local r = redis.call('HMGET', batch_key(found[i]), 'gone', 'expires')
  if not is_gone(r[1], r[2], t) then
    out[#out + 1] = found[i]
    out[#out + 1] = redis.call('HMGET', batch_key(found[i]), unpack(ARGV, 5))
  end
end
return out
