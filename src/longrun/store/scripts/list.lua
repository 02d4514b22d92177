-- A piece of the listing, newest first. ARGV: index name, tenant, cursor score, cursor id ('' = from the newest), how many to look at (<= 100),
-- oldest created ms, then any of the pairs model|status|tag and its value ('tag' as JSON text).
-- Returns {looked at, last score, last id, id, values, id, values, …}.
local found = page(P .. ARGV[1] .. ':' .. ARGV[2], ARGV[3], ARGV[4], ARGV[5])
local out, oldest = {#found / 2, ARGV[3], ARGV[4]}, tonumber(ARGV[6])
for i = 1, #found, 2 do
  local id, score = found[i], found[i + 1]
  out[2], out[3] = score, id
  if tonumber(score) < oldest then
    out[1] = 0
    break
  end
  local fits = theirs(record(id), ARGV[2], 'model', 'status', 'tags')
  local r = fits
  for j = 7, #ARGV, 2 do
    local what, want = ARGV[j], ARGV[j + 1]
    if what == 'model' then fits = fits and r[4] == want
    elseif what == 'status' then fits = fits and (r[5] == want or (want == 'waiting' and r[5] == 'asleep'))
    else fits = fits and r[6] and string.find(r[6], want, 1, true) end
  end
  if fits then
    out[#out + 1], out[#out + 2] = id, fields_of(record(id))
  end
end
return out
