-- A message of type `webhook.test` to an endpoint. ARGV: a fresh id, tenant, endpoint. Returns {1} | {0} (no such endpoint). Sent twice: one message.
local held, d, t = redis.call('HGET', P .. 'hooks:' .. ARGV[2], ARGV[3]), delivery(ARGV[1]), now()
if not held then return {0} end
if redis.call('EXISTS', d) == 0 then
  redis.call('HSET', d, 'tenant', ARGV[2], 'job', '', 'type', 'webhook.test', 'endpoint', ARGV[3], 'url', cjson.decode(held).url,
    'created', int(t), 'status', 'pending', 'tries', 0, 'base', 0, 'data', '')
  redis.call('ZADD', P .. 'delivery-due', int(t), ARGV[1])
  redis.call('ZADD', P .. 'deliveries:' .. ARGV[2], moment(), ARGV[1])
  redis.call('PUBLISH', P .. 'hooks', 'due')
end
return {1}
