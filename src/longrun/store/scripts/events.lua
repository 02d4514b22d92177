-- A page of the event log. ARGV: id, tenant, after (seq), most events, most bytes (one event is always given, however large).
-- Returns {status, attempt, last seq, created, cut, first seq of the page, event, …} | {'none'} | {'gone'}. Event 1 is the reader's to render.
-- `cut` is the latest attempt that lost output to the log's limits, 0 = none. When what follows `after` is not kept, the page begins further on.
local id, k = ARGV[1], record(ARGV[1])
local r, refusal = theirs(k, ARGV[2], 'status', 'attempt', 'created', 'base', 'cut')
if not r then return refusal end
local base, log = tonumber(r[7] or 0), P .. 'ev:' .. id
local after, limit, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local first = math.max(after + 1, base + 2)
local out = {r[4], r[5], base + redis.call('LLEN', log) + 1, r[6], tonumber(r[8] or 0), first}
-- Taken in pieces: of large events no more are loaded than are given, or nearly so.
local PIECE, given, size = 20, 0, 0
while given < limit do
  local from = first - base - 2 + given
  local piece = redis.call('LRANGE', log, from, from + math.min(PIECE, limit - given) - 1)
  for _, e in ipairs(piece) do
    size = size + #e
    if given > 0 and size > bytes then return out end
    given = given + 1
    out[#out + 1] = e
  end
  if #piece < PIECE then return out end
end
return out
