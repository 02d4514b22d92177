-- A piece of a parent's journal and of the list of what has ended. ARGV: parent, fence, cursor of the journal ('0' at first, '' = it was read), how many of the list
-- were read, how many to read (about). Returns {1, cursor ('' = it was read), {field, value, …}, {key, …}} | {0, status} (stale).
-- What an earlier epoch gave up, or found over, is none of this one's business.
local parent, k = ARGV[1], record(ARGV[1])
local mine, status = has_claim(k, ARGV[2])
if not mine then return {0, status or 'gone'} end
local epoch, cursor, out = redis.call('HGET', k, 'epoch') or '0', '', {}
if ARGV[3] ~= '' then
  local page = redis.call('HSCAN', journal_of(parent), ARGV[3], 'COUNT', ARGV[5])
  cursor = page[1] ~= '0' and page[1] or ''
  for i = 1, #page[2], 2 do
    local field, value = page[2][i], page[2][i + 1]
    local gone = string.match(value, '^(!?)%d*$') and string.match(field, '^[vx]:')
    if gone == 'x:' then
      value = value == epoch and '1' or nil
    elseif gone == 'v:' and string.sub(value, 1, 1) == '!' then
      value = value == '!' .. epoch and '!' or nil
    end
    if value then out[#out + 1], out[#out + 2] = field, value end
  end
end
return {1, cursor, out, redis.call('LRANGE', ends_of(parent), ARGV[4], ARGV[4] + ARGV[5] - 1)}
