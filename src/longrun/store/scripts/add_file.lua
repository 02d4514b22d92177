-- Make the record of a file whose bytes are stored. ARGV: id, tenant, JSON of jobs/file_refs.py, key, ms that it lives ('' = as long as jobs need it),
-- ms until a job must need it when it lives with jobs.
-- Returns {created, expires ('' = none)} | {'gone'} (it was there, or the id is taken). Sent twice: the same answer.
local id, k, t = ARGV[1], file(ARGV[1]), now()
local r = redis.call('HMGET', k, 'tenant', 'gone', 'created', 'expires')
if r[1] then
  if r[1] ~= ARGV[2] or r[2] then return {'gone'} end
  return {r[3], r[4] or ''}
end
-- The first write: with a full store it is refused, and nothing has changed.
redis.call('HSET', k, 'tenant', ARGV[2], 'ref', ARGV[3], 'key', ARGV[4], 'created', int(t))
if ARGV[5] == '' then
  redis.call('ZADD', P .. 'file-expire', int(t + ARGV[6]), id)
  return {int(t), ''}
end
local expires = int(t + ARGV[5])
redis.call('HSET', k, 'expires', expires)
redis.call('ZADD', P .. 'file-expire', expires, id)
return {int(t), expires}
