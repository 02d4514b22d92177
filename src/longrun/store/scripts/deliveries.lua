-- A piece of a tenant's ledger, newest first. ARGV: tenant, cursor score, cursor id ('' = from the newest), how many to look at (<= 100),
-- then any of the pairs id|job|endpoint|status and its value (id: this one alone).
-- Returns {looked at, last score, last id, {field, value, …}, {field, value, …}, …}.
local index, n = P .. 'deliveries:' .. ARGV[1], tonumber(ARGV[4])
local found, wanted = nil, {}
for i = 5, #ARGV, 2 do wanted[ARGV[i]] = ARGV[i + 1] end
if wanted.id or wanted.job then
  -- A job has a handful: no need to look through all of them.
  local few = wanted.id and {wanted.id} or redis.call('SMEMBERS', P .. 'sent:' .. wanted.job)
  local dated = {}
  for _, message in ipairs(few) do
    local score = redis.call('ZSCORE', index, message)
    if score then dated[#dated + 1] = {message, score} end
  end
  table.sort(dated, function(a, b) return tonumber(a[2]) > tonumber(b[2]) or (a[2] == b[2] and a[1] > b[1]) end)
  found = {}
  local past = ARGV[3] == ''
  for _, each in ipairs(dated) do
    if past and #found < 2 * n then
      found[#found + 1], found[#found + 2] = each[1], each[2]
    end
    past = past or each[1] == ARGV[3]
  end
else
  found = page(index, ARGV[2], ARGV[3], n)
end
local out = {#found / 2, ARGV[2], ARGV[3]}
for i = 1, #found, 2 do
  out[2], out[3] = found[i + 1], found[i]
  local r = redis.call('HMGET', delivery(found[i]), 'tenant', 'endpoint', 'status')
  local fits = r[1] == ARGV[1] and (not wanted.endpoint or r[2] == wanted.endpoint) and (not wanted.status or r[3] == wanted.status)
  if fits then
    local row = redis.call('HGETALL', delivery(found[i]))
    for _, value in ipairs({'id', found[i], 'due', redis.call('ZSCORE', P .. 'delivery-due', found[i]) or ''}) do row[#row + 1] = value end
    out[#out + 1] = row
  end
end
return out
