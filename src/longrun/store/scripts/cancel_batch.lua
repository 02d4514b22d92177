-- Ask a batch to stop: what was not fed never becomes a job; `cancel_items` cancels the others. ARGV: id, tenant, tombstone ms.
-- Returns {'ended'} | {'canceling'} | {'none'} | {'gone'}. Sent twice: nothing happens a second time.
local id, b, t = ARGV[1], batch_key(ARGV[1]), now()
local r, refusal = theirs(b, ARGV[2], 'status', 'canceling', 'fed', 'total')
if not r then return refusal end
if r[4] ~= 'open' then return {'ended'} end
pass_when_full()
if not r[5] then
  redis.call('HSET', b, 'canceling', int(t), 'stopped', 0)
  redis.call('ZADD', P .. 'batch-due', int(t), id)
  release_files(id, t, ARGV[3], FILES_AT_ONCE)
  local unfed = r[7] - r[6]
  if unfed > 0 then count_items(id, t, 'canceled', unfed) end
end
return {redis.call('HGET', b, 'status') == 'open' and 'canceling' or 'ended'}
