-- Take webhooks that are due, counting the try before anything is sent. ARGV: nonce, most (<= 100), lease ms, tombstone ms, a fresh secret,
-- ms that a message waits for its first try.
-- Returns {id, try, try of this schedule, tenant, job, type, created, url, secrets, data, …}. With the same nonce: the same ones again.
-- On the way: what nobody can receive any more is given up, and entries that were kept long enough go.
pass_when_full()
local t, taken = now(), P .. 'taken:' .. ARGV[1]

local function secrets_of(hook)
  if hook.previous and hook.previous_until > t then return hook.secret .. ' ' .. hook.previous end
  return hook.secret
end

-- The secret of a tenant, for webhooks of jobs that bring none.
local function own_secrets(tenant)
  local k = P .. 'hooksecret:' .. tenant
  redis.call('SETNX', k, cjson.encode({secret = ARGV[5]}))
  return secrets_of(cjson.decode(redis.call('GET', k)))
end

-- Where a delivery goes and what it is signed with, or nil and why not.
local function way(tenant, job, endpoint, url)
  if job ~= '' then
    local r = redis.call('HMGET', subject(job), 'status', 'gone', 'hook')
    if not r[1] or r[2] then return nil, 'The job was deleted or has expired.' end
    if endpoint == '' then
      local own = cjson.decode(r[3])
      return url, own.secret or own_secrets(tenant)
    end
  end
  local held = redis.call('HGET', P .. 'hooks:' .. tenant, endpoint)
  if not held then return nil, 'The endpoint was deleted.' end
  local hook = cjson.decode(held)
  -- A test is sent to a disabled endpoint too: that is how one finds out whether it is well again.
  if hook.disabled_reason and job ~= '' then return nil, 'The endpoint is disabled: ' .. hook.disabled_reason end
  return hook.url, secrets_of(hook)
end

local function details(message)
  return redis.call('HMGET', delivery(message), 'tenant', 'job', 'type', 'created', 'endpoint', 'url', 'data', 'status', 'tries', 'base')
end

local ids = redis.call('LRANGE', taken, 0, -1)
if #ids == 0 then
  for _, message in ipairs(overdue('delivery-due', t, ARGV[2])) do
    local d, r = delivery(message), details(message)
    if r[8] ~= 'pending' then
      redis.call('ZREM', P .. 'delivery-due', message)
      if r[1] then redis.call('ZREM', P .. 'deliveries:' .. r[1], message) end
      redis.call('DEL', d)
    elseif r[9] == '0' and r[4] + ARGV[6] > t then
      redis.call('ZADD', P .. 'delivery-due', int(r[4] + ARGV[6]), message)
    else
      local url, why = way(r[1], r[2], r[5], r[6])
      if url then
        redis.call('HINCRBY', d, 'tries', 1)
        redis.call('HSET', d, 'url', url, 'nonce', ARGV[1])
        redis.call('ZADD', P .. 'delivery-due', int(t + ARGV[3]), message)
        redis.call('RPUSH', taken, message)
        ids[#ids + 1] = message
      else
        settle(message, d, t, 'failed', why, ARGV[4])
      end
    end
  end
  redis.call('PEXPIRE', taken, ARGV[3])
end
local out = {}
for _, message in ipairs(ids) do
  local r = details(message)
  local url, secrets = way(r[1], r[2], r[5], r[6])
  if url and r[8] == 'pending' then
    for _, value in ipairs({message, int(r[9]), int(r[9] - r[10]), r[1], r[2], r[3], r[4], url, secrets, r[7]}) do out[#out + 1] = value end
  end
end
return out
