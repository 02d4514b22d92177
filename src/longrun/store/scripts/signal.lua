-- Someone answers what a job waits for, or will wait for. ARGV: id, tenant, name, value JSON, most names, most bytes of a value.
-- Returns {'new'} | {'same'} (it has this value) | {'other'} (it has another one) | {'ended'} | {'over'} (the time of the wait was over before) | {'full'} | {'none'} | {'gone'}.
-- Sent twice: 'same'.
local id, k, name, value = ARGV[1], record(ARGV[1]), ARGV[3], ARGV[4]
local r, refusal = theirs(k, ARGV[2], 'status', 'signals', 'epoch', 'flow')
if not r then return refusal end
local journal, epoch = journal_of(id), r[6] or '0'
if not TERMINAL[r[4]] then close_timers(id, k, now(), epoch) end
local known = redis.call('HGET', journal, 'v:' .. name)
if known == '!' .. epoch then return {'over'} end
-- Before a retry its time was over; it is asked again.
if known and string.sub(known, 1, 1) ~= '!' then return {known == value and 'same' or 'other'} end
if TERMINAL[r[4]] then return {'ended'} end
-- What it asks for now always has room: only answers to what it has not asked are counted.
local asked = redis.call('ZSCORE', timers_of(id), 's:' .. name)
if not asked and tonumber(r[5] or 0) >= tonumber(ARGV[5]) or #value > tonumber(ARGV[6]) then return {'full'} end
if #value <= SMALL then pass_when_full() end
-- The first write: with a full store a large value is refused, and nothing has changed.
redis.call('HSET', journal, 'v:' .. name, value)
redis.call('HSET', k, 'flow', 1, 'signals', int((r[5] or 0) + (asked and 0 or 1)))
-- From now on it is found where the jobs of trees wait.
if not r[7] then push_again(id) end
if asked then
  redis.call('ZREM', timers_of(id), 's:' .. name)
  show_asks(id, k)
  redis.call('HINCRBY', k, 'version', 1)
  note(id, 'signal')
  step_ended(id, 's:' .. name)
end
return {'new'}
