-- A lane whose waiting set has jobs while its ticket lists are empty has lost tickets (a worker died between pop and doubt cannot happen here, a FLUSH or
-- a foreign client can). The caller looks twice, 5 s apart, before it asks for the push. ARGV: lane, push (1) or look (0), most jobs (<= 100).
-- Returns {waiting, tickets, pushed}.
pass_when_full()
local lane = ARGV[1]
local waiting, tickets = redis.call('ZCARD', P .. 'wait:' .. lane) - redis.call('HLEN', suspects_of(lane)) - redis.call('ZCARD', tree_of(lane)), 0
for level = 0, 9 do tickets = tickets + redis.call('LLEN', tickets_of(lane, level)) end
local pushed = 0
if ARGV[2] == '1' and tickets == 0 and waiting > 0 then
  for _, id in ipairs(redis.call('ZRANGE', P .. 'wait:' .. lane, 0, ARGV[3] - 1)) do
    local r = redis.call('HMGET', record(id), 'status', 'model', 'queue', 'priority', 'suspect', 'flow', 'kid')
    if r[1] == 'queued' and r[6] and not r[5] and not redis.call('ZSCORE', P .. 'doubt', id) then
      if not redis.call('ZSCORE', tree_of(lane), in_tree(id, r[7])) then pushed = pushed + push_again(id) end
    elseif r[1] == 'queued' and not r[5] and not redis.call('ZSCORE', P .. 'doubt', id) then
      push('LPUSH', lane, 9 - r[4], ticket(id, r[2], lane, 9 - r[4]))
      redis.call('HSET', record(id), 'repushed', int(now()))
      pushed = pushed + 1
    end
  end
end
return {waiting, tickets, pushed}
