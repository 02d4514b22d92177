-- The part of the library about how records go (see lib.lua): with their batch, with the job at the top of their tree, or by themselves.

-- Ms in which something that still goes on is looked at again.
local HOUR = 3600000

-- Until when a batch is kept; 0 = no longer.
local function batch_kept_until(batch, t)
  local r = redis.call('HMGET', batch_key(batch), 'expires', 'gone', 'tenant')
  if r[2] or not r[3] then return 0 end
  return r[1] and tonumber(r[1]) + 1 or t + HOUR
end

-- Until when the jobs of a tree are kept, 0 = no longer; and whether their data are (retain_for 0: status and error alone). As long as the job at its top,
-- or one that is the retry of it.
local function tree_kept_until(root, t)
  local latest, data = 0, false
  while root do
    local r = redis.call('HMGET', record(root), 'tenant', 'gone', 'expires', 'retried_by', 'batch')
    if r[1] and not r[2] then
      latest = math.max(latest, r[5] and batch_kept_until(r[5], t) or r[3] and tonumber(r[3]) + 1 or t + HOUR)
      data = data or redis.call('HEXISTS', record(root), 'input') == 1
    end
    root = r[4]
  end
  return latest, data
end

-- The time of a record may be over: it goes, or what must not stay of it; otherwise it is looked at again. Returns how many of its files went.
local function age(id, t, tombstone, files)
  local k = record(id)
  local r = redis.call('HMGET', k, 'expires', 'batch')
  local expires, data = tonumber(r[1] or 0), false
  if r[1] == 'tree' then
    expires, data = tree_kept_until(redis.call('HGET', k, 'root'), t)
  elseif r[2] then
    expires, data = batch_kept_until(r[2], t), true
  end
  if expires <= t then return erase(id, k, t, tombstone, files) end
  redis.call('ZADD', P .. 'expire', int(expires), id)
  if data then return 0 end
  -- retain_for 0: data goes now, status and error stay until `expires`.
  redis.call('HDEL', k, 'output', 'input', 'files', 'progress')
  -- Of the events the last one stays: who asks for the others gets a gap, and then `done`.
  local log = P .. 'ev:' .. id
  redis.call('HINCRBY', k, 'base', math.max(0, redis.call('LLEN', log) - 1))
  redis.call('LTRIM', log, -1, -1)
  redis.call('HDEL', k, 'log_bytes')
  if redis.call('EXISTS', journal_of(id)) == 1 then redis.call('ZADD', P .. 'bury', int(t), id) end
  return release_files(id, t, tombstone, files)
end
