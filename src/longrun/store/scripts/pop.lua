-- Take tickets for a worker, most urgent first over all its lanes, lanes in turn inside a priority; each is noted in `doubt` until it is claimed.
-- ARGV: lane, free slots, lane, free slots, … Returns {lane, level (9 − priority), job id, …}, at most 100 of them.
-- An id is empty when a message names no job.
-- What is left behind wakes the next worker: the wake list may have been emptied by the one that called this.
local t, out, notes, n = int(now()), {}, {}, 0
local free = {}
for i = 1, #ARGV, 2 do free[i] = tonumber(ARGV[i + 1]) end
for level = 0, 9 do
  local again = true
  while again and n < 100 do
    again = false
    for i = 1, #ARGV, 2 do
      if free[i] > 0 and n < 100 then
        local take = redis.call('RPOP', tickets_of(ARGV[i], level), math.min(free[i], #ARGV > 2 and 8 or 100, 100 - n))
        if take then
          for _, ticket in ipairs(take) do
            local id = string.match(ticket, '"id": ?"(job_%x+)"')
            out[#out + 1], out[#out + 2], out[#out + 3] = ARGV[i], tostring(level), id or ''
            n, free[i] = n + 1, free[i] - 1
            if id then notes[#notes + 1], notes[#notes + 2] = t, id end
          end
          again = true
        end
      end
    end
  end
end
if #notes > 0 then redis.call('ZADD', P .. 'doubt', unpack(notes)) end
for i = 1, #ARGV, 2 do
  local left = 0
  for level = 0, 9 do left = left + redis.call('LLEN', tickets_of(ARGV[i], level)) end
  if left > 0 then wake(ARGV[i]) end
end
return out
