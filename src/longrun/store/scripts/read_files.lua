-- Records of files. ARGV: tenant, 1 (that tenant's alone) or 0 (whoever's), then ids (<= 100).
-- Returns for each {JSON, tenant, created, expires ('' = none)} | {'none'} | {'gone', tenant}.
local out = {}
for i = 3, #ARGV do
  local r, refusal = theirs(file(ARGV[i]), ARGV[2] == '1' and ARGV[1], 'ref', 'created')
  out[i - 2] = r and {r[4], r[1], r[5], r[3] or ''} or refusal
end
return out
