-- A process leaves its mark, a number that only grows. If the mark that is there is older than the one that was confirmed to it, so are the data: a failover, a
-- power cut or a restore has taken the rest. Then nothing is changed, so that sent twice the answer is the same. No clock decides.
-- ARGV: name of the marks, number (0 = only look); of the mark that was confirmed last: number (0 = none was), ms, id of the data; then the jobs accepted since, the
-- last one over each connection (with spaces between them, '' = none), ms that marks live.
-- Returns {outcome, ms, id of the data or '', ms when they were made or '', ms of the latest mark that is there or '', `at`, `kind`, `begin`, `end` of the latest known loss}.
-- Outcomes: kept | older (the same data as they were earlier) | other (other data, or none).
pass_when_full()
local k, t = P .. 'mark:' .. ARGV[1], now()
local confirmed, at = tonumber(ARGV[3]), tonumber(ARGV[4])
local about = redis.call('HMGET', P .. 'about', 'id', 'born')
local id = about[1] or ''
local n, left = string.match(redis.call('GET', k) or '', '^(%d+) (%d+)$')
local latest = left or redis.call('GET', P .. 'marked') or ''

-- A job that a process accepts after the loss says nothing of those before.
local function lacks_a_job()
  for job in string.gmatch(ARGV[6], '%S+') do
    if redis.call('EXISTS', record(job)) == 0 then return true end
  end
  return false
end

local function outcome()
  if confirmed == 0 then return 'kept' end
  if ARGV[5] ~= '' and id ~= ARGV[5] then return 'other' end
  if n then
    if tonumber(n) < confirmed then return 'older' end
    -- Marks are a second apart: what was lost may lie between two of them.
    return lacks_a_job() and 'older' or 'kept'
  end
  -- Data from before this process's first mark; or it stood still for so long that its marks have expired.
  return (t - at < tonumber(ARGV[7]) and (latest == '' or tonumber(latest) < at)) and 'older' or 'kept'
end

local found = outcome()
if found == 'kept' and ARGV[2] ~= '0' then
  redis.call('SET', k, ARGV[2] .. ' ' .. int(t), 'PX', ARGV[7])
  -- Not by a process that has just begun: another one may have yet to find out that the data are older.
  if confirmed > 0 then redis.call('SET', P .. 'marked', int(t)) end
end
return {found, int(t), id, about[2] or '', latest, unpack(redis.call('HMGET', P .. 'lost', 'at', 'kind', 'begin', 'end'))}
