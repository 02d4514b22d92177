-- What a job has made, in pieces and in no order. ARGV: id, tenant, cursor of HSCAN, how many to look at.
-- Returns {cursor ('0' = that was all), {key, made ms, mark, …}} | {'none'} | {'gone'}. A key may come twice.
local r, refusal = theirs(record(ARGV[1]), ARGV[2])
if not r then return refusal end
local piece, found = redis.call('HSCAN', journal_of(ARGV[1]), ARGV[3], 'COUNT', ARGV[4]), {}
for i = 1, #piece[2], 2 do
  local key, at, mark = piece[2][i], string.match(piece[2][i + 1], '^c %S+ %d+ (%d+) (%S+)')
  if not at then
    at, mark = string.match(piece[2][i + 1], '^[dfbtw] %S+ (%d+) (%S+)')
    -- The time and the winners that it has read are kept there too; they are no steps.
    if string.find(key, '^now:') or string.find(key, '^first:') then at = nil end
  end
  if at then
    found[#found + 1], found[#found + 2], found[#found + 3] = key, at, mark
  end
end
return {piece[1], found}
