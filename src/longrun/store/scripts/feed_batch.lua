-- Make jobs of the next items of a batch, as many as its lane has room for. ARGV: batch, items that were fed before, lane limit, tombstone ms,
-- ms until a chore looks when nobody goes on, then for each item (<= 100): input, JSON of its files ('' = none), bytes of its line.
-- Returns {'fed', items fed now in all, bytes} | {'full', …} | {'moved', …} (others were fed meanwhile; sent twice: these) | {'over'} (canceled, or ended).
local batch, b = ARGV[1], batch_key(ARGV[1])
local r = redis.call('HMGET', b, 'tenant', 'model', 'queue', 'priority', 'policy', 'within', 'fed', 'total', 'offset', 'canceling', 'status', 'tags', 'metadata')
local tenant, model, queue, priority, within = r[1], r[2], r[3], r[4], r[6]
if r[11] ~= 'open' or r[10] then return {'over'} end
local fed, offset = tonumber(r[7]), tonumber(r[9])
if r[7] ~= ARGV[2] then return {'moved', fed, offset} end
local lane = queue .. '.' .. model
local wait, at = P .. 'wait:' .. lane, instant()
local t = math.floor(at)
local depth = redis.call('ZCARD', wait)
local ahead = depth - redis.call('ZCARD', tree_of(lane))
local came = (#ARGV - 5) / 3
local n = math.min(came, ARGV[3] - ahead, r[8] - fed)
if n <= 0 then
  redis.call('ZADD', P .. 'batch-due', int(t + 1000), batch)
  return {'full', fed, offset}
end
local more = {'policy', r[5], 'batch', batch}
if r[12] then more[5], more[6] = 'tags', r[12] end
if r[13] then more[#more + 1], more[#more + 2] = 'metadata', r[13] end
local last, stamp = #more, int(t)
local level, tickets, index, waiting, deadlines = 9 - priority, {}, {}, {}, {}
for i = 1, n do
  local a = 3 * i + 3
  local id, files = item(batch, fed + i - 1), ARGV[a + 1]
  more[last + 1], more[last + 2] = 'batch_index', int(fed + i - 1)
  more[last + 3], more[last + 4] = files ~= '' and 'files' or nil, files ~= '' and files or nil
  -- The first one is the first write of the script: with a full store it is refused, and nothing has changed.
  create(id, tenant, model, queue, priority, ARGV[a], stamp, false, unpack(more))
  if files ~= '' then
    for each in pairs(cjson.decode(files)) do bind_file(each, id) end
  end
  -- Their order: a microsecond apart in the listing; in the lane, whose scores are large, as near as a double can hold.
  index[2 * i - 1], index[2 * i] = moment(at + i / 1000), id
  waiting[2 * i - 1], waiting[2 * i] = place_in_lane(priority, at + i / 50), id
  if within then deadlines[2 * i - 1], deadlines[2 * i] = int(t + within), id end
  tickets[i], offset = ticket(id, model, lane, level), offset + ARGV[a + 2]
end
redis.call('ZADD', P .. 'idx:' .. tenant, unpack(index))
redis.call('ZADD', wait, unpack(waiting))
if within then redis.call('ZADD', P .. 'deadline', unpack(deadlines)) end
if depth == 0 then redis.call('SADD', P .. 'lanes', lane) end
push('LPUSH', lane, level, unpack(tickets))
fed = fed + n
redis.call('HSET', b, 'fed', int(fed), 'offset', int(offset))
if fed < tonumber(r[8]) then
  redis.call('ZADD', P .. 'batch-due', int(t + (n < came and 1000 or ARGV[5])), batch)
else
  redis.call('ZREM', P .. 'batch-due', batch)
  release_files(batch, t, ARGV[4], FILES_AT_ONCE)
end
return {'fed', fed, offset}
