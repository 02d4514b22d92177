-- Depth by priority and oldest age of every lane. Returns {lane, oldest queued ms ('' = none), n9, n8, …, n0, lane, …} and, last, the server's time.
local out = {}
for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes')) do
  local set, oldest = P .. 'wait:' .. lane, nil
  local row = {}
  for level = 0, 9 do
    local low, high = int(level * SPAN), '(' .. int((level + 1) * SPAN)
    row[#row + 1] = redis.call('ZCOUNT', set, low, high)
    if row[#row] > 0 then
      local first = redis.call('ZRANGEBYSCORE', set, low, high, 'WITHSCORES', 'LIMIT', 0, 1)
      local since = tonumber(first[2]) - level * SPAN
      if not oldest or since < oldest then oldest = since end
    end
  end
  out[#out + 1] = lane
  out[#out + 1] = oldest and int(oldest) or ''
  for _, n in ipairs(row) do out[#out + 1] = n end
end
out[#out + 1] = int(now())
return out
