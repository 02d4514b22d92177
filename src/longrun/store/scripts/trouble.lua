-- Show operators a part that does not recover by itself. ARGV: which part, text ('' = it is well again), life ms. Returns 1.
pass_when_full()
if ARGV[2] == '' then
  redis.call('HDEL', P .. 'trouble', ARGV[1])
else
  redis.call('HSET', P .. 'trouble', ARGV[1], int(now() + ARGV[3]) .. ' ' .. ARGV[2])
end
return 1
