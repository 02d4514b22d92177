-- Take tickets for a worker, most urgent first over all its lanes, lanes in turn inside a priority; each is noted in `doubt` until it is claimed.
-- ARGV: lane, free slots, lane, free slots, …, and `waiting` at the end: look only at lanes in which jobs wait. Others can have tickets that nobody needs
-- any more (their jobs have ended) and messages of foreign clients, so a worker looks at all of them now and then.
-- Jobs of trees stand beside the tickets, in the places of their roots: of the two in front the one whose root is older is taken.
-- Returns {lane, level (9 − priority), job id, …}, at most 100 of them. An id is empty when a message names no job.
-- What is left behind wakes the next worker: the wake list may have been emptied by the one that called this.
local t, out, notes, n = int(now()), {}, {}, 0
local given = #ARGV - #ARGV % 2
local lanes, looked_at = {}, {}
for i = 1, given, 2 do looked_at[#looked_at + 1] = i end
if given < #ARGV then
  local waiting, all = {}, looked_at
  for at, i in ipairs(all) do waiting[at] = P .. 'wait:' .. ARGV[i] end
  looked_at = {}
  for _, at in ipairs(present(waiting)) do looked_at[#looked_at + 1] = all[at] end
end
for _, i in ipairs(looked_at) do
  local lists, left = {}, {}
  for level = 0, 9 do lists[level + 1] = tickets_of(ARGV[i], level) end
  local tree = tree_of(ARGV[i])
  local there = redis.call('EXISTS', tree, unpack(lists))
  if there > 0 then
    for at, list in ipairs(lists) do
      local tickets = there > 0 and redis.call('LLEN', list) or 0
      left[at] = tickets
      if tickets > 0 then there = there - 1 end
    end
    local lane = {name = ARGV[i], free = tonumber(ARGV[i + 1]), lists = lists, left = left, steps = 0}
    -- What is there and none of these lists is the tree. At levels before that of its head there is nothing.
    if there > 0 then
      lane.tree, lane.steps, lane.head = tree, redis.call('ZCARD', tree), tonumber(redis.call('ZRANGE', tree, 0, 0, 'WITHSCORES')[2])
    end
    lanes[#lanes + 1] = lane
  end
end

-- Take up to `most` of a lane with jobs of trees, at one level: tickets, and ids of such jobs.
local function take_older(lane, at, most)
  local taken = {}
  for i = 1, most do
    local first = {}
    if lane.steps > 0 then
      first = redis.call('ZRANGEBYSCORE', lane.tree, int((at - 1) * SPAN), '(' .. int(at * SPAN), 'WITHSCORES', 'LIMIT', 0, 1)
    end
    if first[1] and lane.left[at] > 0 then
      local id = string.match(redis.call('LINDEX', lane.lists[at], -1), '"id": ?"(job_%x+)"')
      local place = id and redis.call('ZSCORE', P .. 'wait:' .. lane.name, id)
      -- A ticket that nobody needs any more is to go, whenever it came.
      if not place or tonumber(place) < tonumber(first[2]) then first = {} end
    end
    if first[1] then
      redis.call('ZREM', lane.tree, first[1])
      lane.steps = lane.steps - 1
      taken[i] = '"id":"' .. string.sub(first[1], 8) .. '"'
    elseif lane.left[at] > 0 then
      lane.left[at] = lane.left[at] - 1
      taken[i] = redis.call('RPOP', lane.lists[at])
    else
      break
    end
  end
  return taken
end

for at = 1, 10 do
  local again = true
  while again and n < 100 do
    again = false
    for _, lane in ipairs(lanes) do
      local of_tree = lane.tree and lane.head < at * SPAN
      if lane.free > 0 and (lane.left[at] > 0 or of_tree) and n < 100 then
        local most, take = math.min(lane.free, given > 2 and 8 or 100, 100 - n), nil
        if of_tree then
          take = take_older(lane, at, most)
        else
          take = redis.call('RPOP', lane.lists[at], most)
          lane.left[at] = lane.left[at] - #take
        end
        for _, ticket in ipairs(take) do
          local id = string.match(ticket, '"id": ?"(job_%x+)"')
          out[#out + 1], out[#out + 2], out[#out + 3] = lane.name, tostring(at - 1), id or ''
          if id then notes[#notes + 1], notes[#notes + 2] = t, id end
        end
        n, lane.free, again = n + #take, lane.free - #take, again or #take > 0
      end
    end
  end
end
if #notes > 0 then redis.call('ZADD', P .. 'doubt', unpack(notes)) end
for _, lane in ipairs(lanes) do
  local left = lane.steps
  for _, more in ipairs(lane.left) do left = left + more end
  if left > 0 then wake(lane.name) end
end
return out
