-- Append events of an attempt, and let the oldest of the log go when it is over its limits.
-- ARGV: id, fence, number of the first (0-based, per attempt), progress JSON ('' = none), most events, most bytes, then type, data, type, data, …
-- Returns {1} | {0} (stale: another claim has the job, or it has ended). Events that arrived before are skipped.
-- Outputs of a child that streams are put into the log of its parent too, as events of type `step_output`, {"step", "value"}.
-- An event of type `file` (JSON of jobs/file_refs.py) makes a file the job's own; readers do not see it.
-- Some before the first may be lost: a replica took over that had received the claim and not all that came after it. A `gap` stands in their place, with one seq for all.
local NOT_KEPT = '{"level":"error","message":"a file was not kept: the attempt has made as many as it may, or it is not one of this attempt"}'
local id, k, fence = ARGV[1], record(ARGV[1]), ARGV[2]
local mine, _, attempt = has_claim(k, fence)
if not mine then return {0} end
local size = 0
for i = 8, #ARGV, 2 do size = size + #ARGV[i] end
if size <= SMALL then pass_when_full() end
local r = redis.call('HMGET', k, 'local', 'base', 'made', 'stream')
local have, base, number, t = tonumber(r[1] or 0), tonumber(r[2] or 0), tonumber(ARGV[3]), now()
local added, outputs, tenant, made = {}, r[4] and {}, nil, tonumber(r[3] or 0)

-- Whether the job has the file now. Bytes of others, and more files than an attempt may make, are not taken: the runner is not to be trusted with that.
local function keep_file(data)
  local well, ref = pcall(cjson.decode, data)
  if not well or type(ref) ~= 'table' or type(ref.size) ~= 'number' or type(ref.digest) ~= 'string' then return false end
  if type(ref.id) ~= 'string' or #ref.id ~= 37 or not string.find(ref.id, '^file_[0-9a-f]+$') then return false end
  if ref.key ~= id .. '/' .. fence .. '/' .. ref.id or made >= MOST_MADE then return false end
  if redis.call('EXISTS', file(ref.id)) == 0 then
    tenant = tenant or redis.call('HGET', k, 'tenant')
    redis.call('HSET', file(ref.id), 'tenant', tenant, 'ref', data, 'key', ref.key, 'created', int(t))
    bind_file(ref.id, id)
    made = made + 1
  end
  return true
end

if number > have then
  redis.call('HSET', k, 'cut', attempt)
  local seq = int(base + redis.call('LLEN', P .. 'ev:' .. id) + 2)
  added[1] = entry(attempt, t, 'gap', '{"from":' .. seq .. ',"to":' .. seq .. '}')
end
for i = 7, #ARGV, 2 do
  if number >= have then
    if ARGV[i] ~= 'file' then
      added[#added + 1] = entry(attempt, t, ARGV[i], ARGV[i + 1])
      if outputs and ARGV[i] == 'output' then outputs[#outputs + 1] = ARGV[i + 1] end
    elseif not keep_file(ARGV[i + 1]) then
      added[#added + 1] = entry(attempt, t, 'log', NOT_KEPT)
    end
  end
  number = number + 1
end
if number <= have then return {1} end
redis.call('HSET', k, 'local', number)
if tenant then redis.call('HSET', k, 'made', made) end
if ARGV[4] ~= '' then
  redis.call('HSET', k, 'progress', ARGV[4], 'progress_at', int(t))
  redis.call('HINCRBY', k, 'version', 1)
end
if #added == 0 then return {1} end

-- Into the log of the job, and if that is a child that streams, its outputs into that of its parent, whoever runs that, and so on up.
-- Readers begin anew with another attempt of who put it out, which it says.
local own, own_k, again = id, k, attempt ~= '1' and '"attempt":' .. attempt .. ',' or ''
repeat
  local count = log(own, added)
  -- The limits. Each call lets go of a bounded number of entries, more than it brought: what one large event leaves to do is done by the next calls.
  local most, bytes, pops = tonumber(ARGV[5]), tonumber(ARGV[6]), 2 * #added + 100
  local held, gone, freed, cut = tonumber(redis.call('HGET', own_k, 'log_bytes')), 0, 0, nil
  while gone < pops and count - gone > 1 and (count - gone > most or held - freed > bytes) do
    local e = redis.call('LPOP', P .. 'ev:' .. own)
    gone, freed = gone + 1, freed + #e
    cut = string.match(e, '^(%d+) %d+ output ') or cut
  end
  if gone > 0 then
    redis.call('HINCRBY', own_k, 'base', gone)
    redis.call('HINCRBY', own_k, 'log_bytes', -freed)
    if cut then redis.call('HSET', own_k, 'cut', cut) end
  end
  -- Small events travel with the note, so that a reader that is in step need not ask for them (`jobs.events.carried`). No JSON text holds a NUL.
  if size <= SMALL then
    note(own, 'events ' .. int(base + count - #added + 2) .. '\0' .. table.concat(added, '\0'))
  else
    note(own, 'events')
  end
  if not outputs or #outputs == 0 then return {1} end
  local c = redis.call('HMGET', own_k, 'parent', 'step')
  own, own_k = c[1], record(c[1])
  local p = redis.call('HMGET', own_k, 'finished', 'attempt', 'base', 'stream')
  local head = '{"step":' .. cjson.encode(c[2]) .. ',' .. again
  added, base = {}, tonumber(p[3] or 0)
  for i, data in ipairs(outputs) do added[i] = entry(p[2], t, 'step_output', head .. string.sub(data, 2)) end
  outputs = p[4] and outputs
until not p[2] or p[1]
return {1}
