-- Make or change an endpoint. ARGV: tenant, id ('' = the tenant's own secret), create|change|rotate|delete, JSON of members, most endpoints.
-- create: the members are the endpoint; the same id again changes nothing. change: the members replace those that it has, a null takes one away.
-- rotate: {"secret", "overlap" ms}: the old secret signs beside the new one until then.
-- Returns {JSON} as it is now | {'none'} | {'full'}.
local hooks, id, verb, given = P .. 'hooks:' .. ARGV[1], ARGV[2], ARGV[3], cjson.decode(ARGV[4])
local own = P .. 'hooksecret:' .. ARGV[1]
local t, held = now(), nil
if id == '' then held = redis.call('GET', own) else held = redis.call('HGET', hooks, id) end
if verb == 'create' then
  if held then return {held} end
  if id ~= '' and redis.call('HLEN', hooks) >= tonumber(ARGV[5]) then return {'full'} end
  given.created = t
elseif not held then
  return {'none'}
elseif verb == 'delete' then
  redis.call('HDEL', hooks, id)
  return {held}
else
  local hook = cjson.decode(held)
  if verb == 'rotate' then
    if hook.secret ~= given.secret then
      hook.previous, hook.previous_until, hook.secret = hook.secret, t + given.overlap, given.secret
    end
  else
    for name, value in pairs(given) do
      if value == cjson.null then hook[name] = nil else hook[name] = value end
    end
  end
  given = hook
end
local now_held = cjson.encode(given)
if id == '' then redis.call('SET', own, now_held) else redis.call('HSET', hooks, id, now_held) end
return {now_held}
