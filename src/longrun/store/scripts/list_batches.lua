-- A piece of the listing of batches, newest first. ARGV: tenant, cursor score, cursor id ('' = from the newest), how many (<= 100), names of fields.
-- Returns {looked at, last score, last id, id, values, id, values, …}.
local found = page(P .. 'batches:' .. ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local out = {#found / 2, ARGV[2], ARGV[3]}
for i = 1, #found, 2 do
  out[2], out[3] = found[i + 1], found[i]
  if theirs(batch_key(found[i]), ARGV[1]) then
    out[#out + 1], out[#out + 2] = found[i], redis.call('HMGET', batch_key(found[i]), unpack(ARGV, 5))
  end
end
return out
