-- Accept a job: record, index, idempotency key, place in the lane and ticket, or nothing at all.
-- ARGV: id, tenant, model, queue, priority, input, policy, delay ms, lane limit, idempotency key ('' = none), fingerprint,
--       ids of the files it needs with spaces between them, then pairs of further fields (tags, metadata, hook, files).
-- Returns {'new', position, created ms} | {'replay', id} | {'reused', id} | {'full', depth} | {'nofile', file id} (not there, gone, or another tenant's).
-- Sent twice: the second is {'new', …} again, with the position the job has by then (0 = it does not wait in its lane).
local id, tenant, model, queue, delay = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[8])
local lane = queue .. '.' .. model
local wait = P .. 'wait:' .. lane

local created = redis.call('HGET', record(id), 'created')
if created then return {'new', (redis.call('ZRANK', wait, id) or -1) + 1, created} end
local bound = key_of(tenant, ARGV[10])
local again = repeated(bound, ARGV[11])
if again then return again end
local depth = redis.call('ZCARD', wait)
if depth >= tonumber(ARGV[9]) and depth - redis.call('ZCARD', P .. 'tree:' .. lane) >= tonumber(ARGV[9]) then return {'full', depth} end

local files = {}
if ARGV[12] ~= '' then
  for each in string.gmatch(ARGV[12], '%S+') do
    if not theirs(file(each), tenant) then return {'nofile', each} end
    files[#files + 1] = each
  end
end
local stamp = new_job(id, tenant, model, queue, ARGV[5], ARGV[6], ARGV[7], instant(), delay, files, unpack(ARGV, 13))
if bound then
  redis.call('SET', bound, id .. ' ' .. ARGV[11])
  redis.call('HSET', record(id), 'idem', bound)
end
-- A lane in which jobs wait is known already.
if depth == 0 and delay == 0 then redis.call('SADD', P .. 'lanes', lane) end
return {'new', (redis.call('ZRANK', wait, id) or -1) + 1, stamp}
