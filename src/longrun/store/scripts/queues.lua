-- Depth by priority and oldest age of every lane.
-- Returns {server's time, {lanes in which nothing waits}, {lane, oldest queued ms, n9, n8, …, n0, lane, …}}.
local empty, out, names, sets = {}, {}, redis.call('SMEMBERS', P .. 'lanes'), {}
for i, lane in ipairs(names) do sets[i] = P .. 'wait:' .. lane end
local filled = {}
for _, i in ipairs(present(sets)) do filled[i] = true end
for i, lane in ipairs(names) do
  if filled[i] then
    local row, oldest, low = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, nil, '-inf'
    repeat
      local first = redis.call('ZRANGEBYSCORE', sets[i], low, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      if first[1] then
        local level = math.floor(first[2] / SPAN)
        low = int((level + 1) * SPAN)
        row[level + 1] = redis.call('ZCOUNT', sets[i], first[2], '(' .. low)
        oldest = math.min(oldest or math.huge, first[2] - level * SPAN)
      end
    until not first[1]
    out[#out + 1], out[#out + 2] = lane, int(oldest)
    for _, n in ipairs(row) do out[#out + 1] = n end
  else
    empty[#empty + 1] = lane
  end
end
return {int(now()), empty, out}
