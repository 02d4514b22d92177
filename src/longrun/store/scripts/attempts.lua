-- The attempts of a job, the latest first. ARGV: id, tenant. Returns {'', n, begun, ended, usage, n, …} (a hundred at most) | {'none'} | {'gone'}.
-- Those that only waited, one after the other, are one: it has the number and the end of the last, and began with the first.
local k = record(ARGV[1])
local r, refusal = theirs(k, ARGV[2], 'attempt')
if not r then return refusal end
local out, rows, waited, last = {''}, 0, false, tonumber(r[4])
for n = last, math.max(1, last - 999), -1 do
  local a = redis.call('HMGET', k, 'a:' .. n, 'z:' .. n, 'u:' .. n)
  local waits, o = string.find(a[2] or '', '^%d+ waited') ~= nil, #out
  if waits and waited then
    out[o - 2] = a[1] or out[o - 2]
    if a[3] then out[o] = sum_of(out[o] ~= '' and out[o], a[3]) end
  elseif rows == 100 then
    return out
  else
    out[o + 1], out[o + 2], out[o + 3], out[o + 4], rows = n, a[1] or '', a[2] or '', a[3] or '', rows + 1
  end
  waited = waits
end
return out
