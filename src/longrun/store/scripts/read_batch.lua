-- One batch. ARGV: id, tenant ('' = whoever's it is), names of fields. Returns {values} | {'none'} | {'gone'}.
local b = batch_key(ARGV[1])
local r, refusal = theirs(b, ARGV[2] ~= '' and ARGV[2])
if not r then return refusal end
return {redis.call('HMGET', b, unpack(ARGV, 3))}
