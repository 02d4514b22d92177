-- Retry or redrive: a new job with the input and options of an ended one.
-- ARGV: old id, tenant, new id.
-- Returns {'new', id} | {'none'} | {'gone'} | {'refused', status} | {'child', root} (that one is to be retried). Sent twice, or asked twice: the same new job.
local old, tenant, id = record(ARGV[1]), ARGV[2], ARGV[3]
local r, refusal = theirs(old, tenant, 'status', 'retried_by', 'model', 'queue', 'priority', 'input', 'policy', 'files', 'tags', 'metadata', 'hook',
  'root', 'origin')
if not r then return refusal end
if r[15] then return {'child', kept_root(r[15])} end
if r[5] then return {'new', r[5]} end
if r[4] ~= 'failed' and r[4] ~= 'canceled' and r[4] ~= 'expired' then return {'refused', r[4]} end
if not r[9] then return {'gone'} end

-- What names it to the providers that it pays is the first job of the chain, however often that is retried.
local more, files = {'retry_of', ARGV[1], 'origin', r[16] or ARGV[1], 'flow', 1}, {}
for i, name in ipairs({'files', 'tags', 'metadata', 'hook'}) do
  if r[10 + i] then more[#more + 1], more[#more + 2] = name, r[10 + i] end
end
-- Deleted ones too: they are kept as long as the old job, and now the new one, needs them.
for each in pairs(cjson.decode(r[11] or '{}')) do files[#files + 1] = each end
new_job(id, tenant, r[6], r[7], r[8], r[9], r[10], instant(), 0, files, unpack(more))
take_over(ARGV[1], id, true)
push_again(id)
-- The old one may have ended before it came to its lane.
redis.call('SADD', P .. 'lanes', r[7] .. '.' .. r[6])
redis.call('HSET', old, 'retried_by', id)
redis.call('HINCRBY', old, 'version', 1)
redis.call('ZREM', P .. 'dead:' .. tenant, ARGV[1])
note(ARGV[1], 'retried')
return {'new', id}
