-- Records of files. ARGV: tenant, 1 (that tenant's alone) or 0 (whoever's), then ids (<= 100).
-- Returns for each {1, tenant, JSON, created, expires ('' = none)} | {0} (not there, or another tenant's: the same answer) |
-- {-1, tenant} (gone).
local out, t = {}, now()
for i = 3, #ARGV do
  local r = redis.call('HMGET', file(ARGV[i]), 'tenant', 'gone', 'expires', 'ref', 'created')
  if not r[1] or (ARGV[2] == '1' and r[1] ~= ARGV[1]) then
    out[#out + 1] = {0}
  elseif r[2] or (r[3] and tonumber(r[3]) <= t) then
    out[#out + 1] = {-1, r[1]}
  else
    out[#out + 1] = {1, r[1], r[4], r[5], r[3] or ''}
  end
end
return out
