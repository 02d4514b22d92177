-- Keep files for a batch that is about to be accepted, until its items need them. ARGV: batch, tenant, ms until they go when it never is, ids (<= 100).
-- Returns {'bound'} | {'nofile', file id} (not there, gone, or another tenant's: nothing was done). Sent twice: the same.
for i = 4, #ARGV do
  if not theirs(file(ARGV[i]), ARGV[2]) then return {'nofile', ARGV[i]} end
end
-- Of a batch that is never accepted, due_batches.lua releases the files.
redis.call('ZADD', P .. 'batch-due', 'NX', int(now() + ARGV[3]), ARGV[1])
for i = 4, #ARGV do bind_file(ARGV[i], ARGV[1]) end
return {'bound'}
