-- A message of type `webhook.test` to an endpoint. ARGV: a fresh id, tenant, endpoint. Returns {'sent'} | {'none'} (no such endpoint). Sent twice: one message.
local held = redis.call('HGET', P .. 'hooks:' .. ARGV[2], ARGV[3])
if not held then return {'none'} end
if redis.call('EXISTS', delivery(ARGV[1])) == 0 then post(ARGV[1], now(), ARGV[2], '', 'webhook.test', ARGV[3], cjson.decode(held).url, '') end
return {'sent'}
