-- A lane whose waiting set has jobs while its ticket lists are empty has lost tickets (a worker died between pop and doubt cannot happen here, a FLUSH or
-- a foreign client can). The caller looks twice, 5 s apart, before it asks for the push. ARGV: lane, push (1) or look (0), most jobs (<= 100).
-- Returns {waiting, tickets, pushed}.
pass_when_full()
local lane = ARGV[1]
local waiting, tickets = redis.call('ZCARD', P .. 'wait:' .. lane), redis.call('LLEN', P .. lane)
for level = 1, 9 do tickets = tickets + redis.call('LLEN', P .. lane .. ':' .. level) end
local pushed = 0
if ARGV[2] == '1' and tickets == 0 and waiting > 0 then
  for _, id in ipairs(redis.call('ZRANGE', P .. 'wait:' .. lane, 0, ARGV[3] - 1)) do
    local r = redis.call('HMGET', record(id), 'status', 'model', 'queue', 'priority')
    if r[1] == 'queued' and not redis.call('ZSCORE', P .. 'doubt', id) then
      push(id, r[2], r[3], tonumber(r[4]), false)
      redis.call('HSET', record(id), 'repushed', int(now()))
      pushed = pushed + 1
    end
  end
end
return {waiting, tickets, pushed}
