-- The second part of the library (see lib.lua): how jobs wait in their lanes. Plain ones have tickets in lists. Steps, and parents that have some, stand in
-- `tree:<lane>` instead, in the place of their root; pop.lua takes from whichever has the older one in front.

local function ticket(id, model, lane, level) return @TICKET@ end

-- The list of a lane's tickets at one level. kombu pops from the right and serves list n = 0 first, so priority 9 is list 0.
local function tickets_of(lane, level) return level > 0 and P .. lane .. ':' .. level or P .. lane end
local function tree_of(lane) return P .. 'tree:' .. lane end

-- Wake one of the workers that wait for a lane.
local function wake(lane)
  local list = P .. 'wake:' .. lane
  if redis.call('LLEN', list) == 0 then redis.call('LPUSH', list, '1') end
end

-- Push tickets to the end of a lane (LPUSH), or to where the next one is popped (RPUSH). Tickets are wake-up calls: one too many does no harm.
local function push(command, lane, level, ...)
  redis.call(command, tickets_of(lane, level), ...)
  wake(lane)
end

-- Push a ticket to the front. It stands out of the order of `queued` there; `repushed` says so, for overtaken.lua.
local function push_front(id, model, queue, priority)
  local lane, level = queue .. '.' .. model, 9 - priority
  redis.call('HSET', record(id), 'repushed', int(now()))
  push('RPUSH', lane, level, ticket(id, model, lane, level))
end

-- The score of a job of a tree that stands at `place` in its lane; a parent goes before the steps of its tree, by as little as the largest scores can hold.
local function place_in_tree(priority, place, kids) return place_in_lane(priority, place - (kids and 0.04 or 0)) end

-- The member of `tree:` that stands for a job. It begins with the job's number among the steps of its parent (`kid`, seven digits; false = it is no step), so
-- that those are taken in the order in which they were asked for.
local function in_tree(id, kid) return (kid or '0000000') .. id end

local function push_tree(id, kid, lane, score)
  redis.call('ZADD', tree_of(lane), score, in_tree(id, kid))
  wake(lane)
end

-- Push the ticket of a job again if the job still waits for it. Returns how many were pushed.
local function push_again(id)
  local r = redis.call('HMGET', record(id), 'status', 'model', 'queue', 'priority', 'flow', 'place', 'queued', 'kids', 'kid')
  if r[1] ~= 'queued' then return 0 end
  if r[5] then
    push_tree(id, r[9], r[3] .. '.' .. r[2], place_in_tree(r[4], r[6] or r[7], r[8]))
  else
    push_front(id, r[2], r[3], r[4])
  end
  return 1
end

-- The suspects that wait in a lane: id → group. They have no tickets: workers look there for groups that they have a runner for (suspects.lua).
local function suspects_of(lane) return P .. 'suspects:' .. lane end

-- Put a job into its lane: the waiting set and a ticket. In front, it keeps the place its first queueing gave it; a step has that of its root always.
local function enqueue(id, k, front)
  local r = redis.call('HMGET', k, 'model', 'queue', 'priority', 'queued', 'place', 'suspect', 'flow')
  local model, queue, priority = r[1], r[2], r[3]
  local lane, level = queue .. '.' .. model, 9 - priority
  local at = instant()
  local about = r[7] and redis.call('HMGET', k, 'parent', 'kids', 'kid') or {}
  local since = (front or about[1]) and tonumber(r[5] or r[4]) or at
  redis.call('HSET', k, 'status', 'queued', 'queued', int(math.floor(at)))
  -- How long it waits now is not how long it has been since it got its place.
  if not about[1] then
    if front then redis.call('HSET', k, 'place', int(math.floor(since))) elseif r[5] then redis.call('HDEL', k, 'place') end
  end
  redis.call('HINCRBY', k, 'version', 1)
  local score = r[7] and place_in_tree(priority, since, about[2]) or place_in_lane(priority, since)
  redis.call('ZADD', P .. 'wait:' .. lane, score, id)
  redis.call('SADD', P .. 'lanes', lane)
  if r[6] then
    redis.call('HSET', suspects_of(lane), id, r[6])
  elseif r[7] then
    push_tree(id, about[3], lane, score)
  elseif front then
    push_front(id, model, queue, priority)
  else
    push('LPUSH', lane, level, ticket(id, model, lane, level))
  end
end
