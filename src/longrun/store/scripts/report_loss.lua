-- Have everybody know that the store has lost something. ARGV: kind, ms from which on it may be lost ('' = all before), ms until when, `at` of the loss that the
-- reporter knew before (0 = none), ms that it is shown. Returns {at, kind, begin, end}.
-- A later one was found by another process since: it is the same one, and together they know its bounds.
pass_when_full()
local k, begin, until_ = P .. 'lost', ARGV[2], ARGV[3]
local r = redis.call('HMGET', k, 'at', 'kind', 'begin', 'end')
local at, kind = int(now()), ARGV[1]
if r[1] and tonumber(r[1]) > tonumber(ARGV[4]) then
  at, kind = r[1], r[2]
  if begin ~= '' then begin = r[3] ~= '' and int(math.min(begin, r[3])) or '' end
  until_ = int(math.max(until_, r[4]))
end
redis.call('HSET', k, 'at', at, 'kind', kind, 'begin', begin, 'end', until_)
redis.call('PEXPIRE', k, ARGV[5])
return {at, kind, begin, until_}
