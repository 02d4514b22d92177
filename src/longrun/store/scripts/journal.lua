-- Local results of a parent, begun-marks of what is to be done once, marks of steps that were not used. What is there first counts.
-- ARGV: parent, fence, how many, then for each key, text (see `Steps.journal`), then keys of children that are to stop if the first of these entries is ours.
-- Returns {1, the entry that counts, of a mark what the step has used (JSON, '1' = nothing), …} | {0, status} (stale).
local parent, fence, k, journal, n = ARGV[1], ARGV[2], record(ARGV[1]), journal_of(ARGV[1]), tonumber(ARGV[3])
local mine, status, attempt = has_claim(k, fence)
if not mine then return {0, status or 'gone'} end
local size, t = 0, now()
for i = 4, 3 + 2 * n do size = size + #ARGV[i] end
if size <= SMALL then pass_when_full() end
local r = redis.call('HMGET', k, 'epoch', 'again', 'flow')
local epoch, again, out, ours = r[1] or '0', tonumber(r[2] or 0), {1}, false
if not r[3] then redis.call('HSET', k, 'flow', 1) end

-- Whether an entry gives way to another of the kind `new`.
local function gives_way(e, new)
  if not e then return true end
  local kind, of, rest = string.match(e, '^(%a) (%d+) %d+ %S+ (.*)$')
  if kind == 'f' then
    return of ~= epoch and not (string.find(rest, '"code":"outcome-unknown"', 1, true) and tonumber(of) >= again)
  end
  if kind ~= 'b' then return false end
  -- Begun, and not by this attempt: nobody knows whether it was done.
  if tonumber(of) < again then return true end
  return new ~= 'b' and of == epoch and rest == attempt
end

for i = 4, 2 + 2 * n, 2 do
  local key, kind, text = ARGV[i], string.match(ARGV[i + 1], '^([dfb]) (%S+ .*)$')
  if kind then
    local entry = kind .. ' ' .. epoch .. ' ' .. int(t) .. ' ' .. text
    local first = gives_way(redis.call('HGET', journal, key), kind)
    if first then redis.call('HSET', journal, key, entry) end
    if i == 4 then ours = first end
    out[#out + 1] = redis.call('HGET', journal, key)
  else
    local cost = ''
    if string.sub(key, 1, 2) == 'u:' then
      redis.call('HSET', journal, key, epoch)
      local child = string.match(redis.call('HGET', journal, string.sub(key, 3)) or '', '^c (%S+)')
      cost = child and used(unpack(redis.call('HMGET', record(child), 'usage', 'kids_usage'))) or ''
    end
    out[#out + 1] = cost ~= '' and cost or '1'
  end
end
for i = 4 + 2 * n, ours and #ARGV or 0 do stop_step(parent, redis.call('HGET', journal, ARGV[i]), t) end
return out
