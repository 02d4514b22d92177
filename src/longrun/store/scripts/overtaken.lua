-- Push the tickets of jobs again that were overtaken: a job of the same lane and priority whose ticket was pushed a while later has been claimed. Lists are
-- first in, first out, so the ticket of the earlier one is not in its list any more; and what was popped a moment ago is in `doubt`.
-- Suspects and jobs of trees have no tickets. What merely waits is never touched: without claims there is no evidence.
-- ARGV: lane, level (9 − priority), age ms, jobs to skip, most jobs (<= 100). Returns {looked at, pushed}.
pass_when_full()
local lane, level, pushed = ARGV[1], tonumber(ARGV[2]), 0
local mark = redis.call('ZSCORE', P .. 'mark', lane .. ':' .. ARGV[2])
if not mark then return {0, 0} end
local before, low = mark - ARGV[3], level * SPAN
local ids = redis.call('ZRANGEBYSCORE', P .. 'wait:' .. lane, int(low), string.format('%.2f', low + before), 'LIMIT', ARGV[4], ARGV[5])
for _, id in ipairs(ids) do
  local r = redis.call('HMGET', record(id), 'status', 'model', 'queue', 'priority', 'repushed', 'suspect', 'flow')
  if r[1] == 'queued' and not r[6] and not r[7] and tonumber(r[5] or 0) <= before and not redis.call('ZSCORE', P .. 'doubt', id) then
    push_front(id, r[2], r[3], r[4])
    pushed = pushed + 1
  end
end
return {#ids, pushed}
