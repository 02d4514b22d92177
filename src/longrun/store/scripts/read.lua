-- One record without its input. ARGV: id, tenant, largest output in bytes that is wanted ('' = any).
-- Returns {position (0 = it does not wait in its lane), values of `fields_of`} | {'none'} | {'gone'}.
local id, k = ARGV[1], record(ARGV[1])
local r, refusal = theirs(k, ARGV[2], 'status', 'queue', 'model')
if not r then return refusal end
local position = 0
if r[4] == 'queued' then position = (redis.call('ZRANK', P .. 'wait:' .. r[5] .. '.' .. r[6], id) or -1) + 1 end
return {position, fields_of(k, ARGV[3] ~= '' and redis.call('HSTRLEN', k, 'output') > tonumber(ARGV[3]))}
