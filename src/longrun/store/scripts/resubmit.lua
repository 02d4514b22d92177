-- Retry or redrive: a new job with the input and options of an ended one.
-- ARGV: old id, tenant, new id.
-- Returns {'new', id} | {'none'} | {'gone'} | {'refused', status} | {'child', root} (that one is to be retried). Sent twice, or asked twice: the same new job.
local old, tenant, id = record(ARGV[1]), ARGV[2], ARGV[3]
local r, refusal = theirs(old, tenant, 'status', 'retried_by', 'model', 'queue', 'priority', 'input', 'policy', 'files', 'tags', 'metadata', 'hook',
  'root', 'epoch', 'origin', 'signals', 'asks', 'over')
if not r then return refusal end
if r[15] then return {'child', keeper(r[15])} end
if r[5] then return {'new', r[5]} end
if r[4] ~= 'failed' and r[4] ~= 'canceled' and r[4] ~= 'expired' then return {'refused', r[4]} end
if not r[9] then return {'gone'} end

-- What the old job has journaled is the new one's too: what was finished is neither done nor paid again, what was not is made anew. `waits`: names of those
-- that were open or had their time over; they are asked again, with a time of their own.
local function take_over(from, to, epoch, signals, waits)
  local journal, ends = P .. 'steps:' .. to, 0
  redis.call('COPY', P .. 'steps:' .. from, journal)
  if redis.call('COPY', P .. 'ends:' .. from, P .. 'ends:' .. to) == 1 then ends = redis.call('LLEN', P .. 'ends:' .. to) end
  for name in string.gmatch(waits, '%S+') do redis.call('HDEL', journal, 's:' .. name, 'v:' .. name) end
  -- Nothing of it is open: what had not ended belongs to the old job, and is stopped with it.
  redis.call('HSET', record(to), 'epoch', epoch, 'again', epoch, 'kids', ends, 'signals', signals or 0)
end

-- What names it to the providers that it pays is the first job of the chain, however often that is retried.
local more, files = {'retry_of', ARGV[1], 'origin', r[17] or ARGV[1], 'flow', 1}, {}
for i, name in ipairs({'files', 'tags', 'metadata', 'hook'}) do
  if r[10 + i] then more[#more + 1], more[#more + 2] = name, r[10 + i] end
end
-- Deleted ones too: they are kept as long as the old job, and now the new one, needs them.
for each in pairs(cjson.decode(r[11] or '{}')) do files[#files + 1] = each end
new_job(id, tenant, r[6], r[7], r[8], r[9], r[10], instant(), 0, files, unpack(more))
if redis.call('EXISTS', P .. 'steps:' .. ARGV[1]) == 1 then take_over(ARGV[1], id, int((r[16] or 0) + 1), r[18], (r[19] or '') .. ' ' .. (r[20] or '')) end
-- The old one may have ended before it came to its lane.
redis.call('SADD', P .. 'lanes', r[7] .. '.' .. r[6])
redis.call('HSET', old, 'retried_by', id)
redis.call('HINCRBY', old, 'version', 1)
redis.call('ZREM', P .. 'dead:' .. tenant, ARGV[1])
note(ARGV[1], 'retried')
return {'new', id}
