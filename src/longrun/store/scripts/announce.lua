-- A worker says what it runs. ARGV: name, JSON, life ms; JSON '' = it is leaving. Returns 1.
if ARGV[2] == '' then
  redis.call('DEL', P .. 'worker:' .. ARGV[1])
  redis.call('ZREM', P .. 'workers', ARGV[1])
  return 1
end
pass_when_full()
redis.call('SET', P .. 'worker:' .. ARGV[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', P .. 'workers', int(now() + ARGV[3]), ARGV[1])
return 1
