-- Which processes work on these data. Returns {what each announces, JSON…}, how many API processes are there that announce nothing.
local found = {}
for _, each in ipairs(redis.call('ZRANGEBYSCORE', P .. 'processes', int(now()), '+inf')) do
  local entry = redis.call('GET', P .. 'process:' .. each)
  if entry then found[#found + 1] = entry end
end
return {found, silent_apis()}
