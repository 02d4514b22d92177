-- Take a queued job. ARGV: id, nonce, worker, device, lease ms.
-- Returns {attempt, input, policy, suspect, errors, created, claimed at, files} | {0, status}. The nonce makes a claim that was sent twice get its own answer again.
local id, k, t = ARGV[1], record(ARGV[1]), now()
local r = redis.call('HMGET', k, 'status', 'nonce', 'attempt', 'input', 'policy', 'suspect', 'errors', 'created', 'queue', 'model', 'priority',
  'queued', 'repushed', 'tenant', 'hook', 'files')
-- The first write; it also lets the claim pass in a full store (see pass_when_full).
redis.call('ZREM', P .. 'doubt', id)
local attempt = r[3]
if not (r[1] == 'running' and r[2] == ARGV[2]) then
  if r[1] ~= 'queued' then return {0, r[1] or 'gone'} end
  local deadline = redis.call('ZSCORE', P .. 'deadline', id)
  if deadline and tonumber(deadline) <= t then
    expire(id, k, t, attempt)
    return {0, 'expired'}
  end
  attempt = redis.call('HINCRBY', k, 'attempt', 1)
  redis.call('HINCRBY', k, 'version', 1)
  redis.call('HSET', k, 'status', 'running', 'started', int(t), 'worker', ARGV[3], 'nonce', ARGV[2], 'local', 0,
    'a:' .. attempt, '{"worker":' .. cjson.encode(ARGV[3]) .. ',"device":' .. cjson.encode(ARGV[4]) .. ',"at":' .. int(t) .. '}')
  redis.call('HDEL', k, 'progress', 'progress_at', 'due', 'error', 'repushed', 'made')
  local lane = r[9] .. '.' .. r[10]
  redis.call('ZREM', P .. 'wait:' .. lane, id)
  -- A ticket from the tail was popped, so every ticket pushed to this list before it has been: what overtaken.lua goes by.
  if not r[13] then redis.call('ZADD', P .. 'mark', 'GT', r[12], lane .. ':' .. int(9 - r[11])) end
  redis.call('ZREM', P .. 'deadline', id)
  redis.call('ZADD', P .. 'lease', int(t + ARGV[5]), id)
  event(id, attempt, t, 'started', '{"worker":' .. cjson.encode(ARGV[3]) .. ',"resumed":false}')
  note(id, 'started')
  tell(id, k, t, r[14], r[15], attempt, 'job.started', '{"status":"running","attempt":' .. attempt .. '}')
end
return {tonumber(attempt), r[4], r[5], r[6] or '', tonumber(r[7] or 0), tonumber(r[8]), redis.call('HGET', k, 'started'), r[16] or ''}
