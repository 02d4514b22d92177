-- What a job asks for and waits for. ARGV: id, name, … (<= 100). Returns {name, until ms, JSON of `ask` and `schema`} for each wait that is open.
local journal, out = journal_of(ARGV[1]), {}
for i = 2, #ARGV do
  local e = redis.call('HMGET', journal, 's:' .. ARGV[i], 'v:' .. ARGV[i])
  local due, asked = string.match(e[1] or '', '^w (%d+) %d+ %S+ (.*)$')
  if due and not e[2] and tonumber(due) > now() then out[#out + 1] = {ARGV[i], due, asked} end
end
return out
