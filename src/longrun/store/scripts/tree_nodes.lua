-- Steps of a job by their keys. ARGV: id, tenant, key, … (<= 100).
-- Returns {'', {row, …}} | {'none'} | {'gone'}. A row: kind (of the journal's entry), made ms, mark, 1 (the code did not ask for it last) or 0, 1 (it has its
-- result) or 0, and then of a child: id, epoch, fields of its record; of a sleep or a wait: when it is over, 1 (a signal has come) or 0;
-- of a step in the job itself: epoch, failure JSON ('' = none). '' stands for a key that is not there.
local r, refusal = theirs(record(ARGV[1]), ARGV[2], 'epoch')
if not r then return refusal end
local journal, rows, t = journal_of(ARGV[1]), {}, now()

local function row(key)
  local e = redis.call('HMGET', journal, key, 'u:' .. key)
  local kind, what, rest = string.match(e[1] or '', '^([cdfbtw]) (%S+) (.*)$')
  if not kind then return '' end
  local unused = e[2] == (r[4] or '0') and 1 or 0
  if kind == 'c' then
    local epoch, at, mark = string.match(rest, '^(%d+) (%d+) (%S+)')
    local c = redis.call('HMGET', record(what), 'model', 'status', 'created', 'started', 'finished', 'attempt', 'usage', 'error', 'kids', 'kids_usage')
    return {kind, at, mark, unused, TERMINAL[c[2]] and 1 or 0, what, epoch, unpack(c)}
  end
  local at, mark, value = string.match(rest, '^(%d+) (%S+) ?(.*)$')
  if kind == 't' then return {kind, at, mark, unused, tonumber(what) <= t and 1 or 0, what, 0} end
  if kind == 'w' then
    local signal = redis.call('HGET', journal, 'v:' .. string.sub(key, 3))
    return {kind, at, mark, unused, (signal or tonumber(what) <= t) and 1 or 0, what, signal and string.sub(signal, 1, 1) ~= '!' and 1 or 0}
  end
  return {kind, at, mark, unused, kind == 'b' and 0 or 1, what, kind == 'f' and value or ''}
end

for i = 3, #ARGV do rows[i - 2] = row(ARGV[i]) end
return {'', rows}
