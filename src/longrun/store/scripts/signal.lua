-- Someone answers what a job waits for, or will wait for. ARGV: id, tenant, name, value JSON, most names, most bytes of a value.
-- Returns {'new'} | {'same'} (it has this value) | {'other'} (it has another one) | {'ended'} | {'over'} (the time of the wait was over before) | {'full'} | {'none'} | {'gone'}.
-- Sent twice: 'same'.
local id, k, name, value = ARGV[1], record(ARGV[1]), ARGV[3], ARGV[4]
local r, refusal = theirs(k, ARGV[2], 'status', 'signals')
if not r then return refusal end
local e = redis.call('HMGET', P .. 'steps:' .. id, 'v:' .. name, 's:' .. name)
if e[1] == '!' then return {'over'} end
if e[1] then return {e[1] == value and 'same' or 'other'} end
if TERMINAL[r[4]] then return {'ended'} end
if #value <= SMALL then pass_when_full() end
local due = string.match(e[2] or '', '^w (%d+)')
if due and tonumber(due) <= now() then
  end_wait(id, k, name, '!')
  return {'over'}
end
if tonumber(r[5] or 0) >= tonumber(ARGV[5]) or #value > tonumber(ARGV[6]) then return {'full'} end
-- The first write: with a full store a large value is refused, and nothing has changed.
redis.call('HSET', P .. 'steps:' .. id, 'v:' .. name, value)
redis.call('HINCRBY', k, 'signals', 1)
redis.call('HSET', k, 'flow', 1)
-- One that comes before its wait ends what has not been counted yet.
if not due then redis.call('HINCRBY', k, 'kids', 1) end
end_wait(id, k, name, value)
return {'new'}
