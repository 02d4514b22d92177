-- A page of the event log. ARGV: id, tenant, after (seq), limit.
-- Returns {status, attempt, last seq, created, first seq of the page, event, …} | {0} (not there) | {-1} (gone). Event 1 is the reader's to render.
local id, k = ARGV[1], record(ARGV[1])
local r = redis.call('HMGET', k, 'tenant', 'gone', 'expires', 'status', 'attempt', 'created')
if r[1] ~= ARGV[2] then return {0} end
if r[2] or (r[3] and tonumber(r[3]) <= now()) then return {-1} end
local after, limit, log = tonumber(ARGV[3]), tonumber(ARGV[4]), P .. 'ev:' .. id
local first = math.max(after + 1, 2)
local out = {r[4], r[5], redis.call('LLEN', log) + 1, r[6], first}
for _, e in ipairs(redis.call('LRANGE', log, first - 2, first - 3 + limit)) do out[#out + 1] = e end
return out
