-- Which keys of the blob store are not to be swept. ARGV: keys (<= 100). Returns 1 or 0 for each.
-- The file's id is the end of its key. A record holds its `key` as long as the bytes are needed; what is in the trash is the trash's to remove;
-- and what a claim that holds now has written may have no record yet. 0.1.0 wrote `<job>/<attempt>/<id>`, without the nonce.
local out = {}
for i, key in ipairs(ARGV) do
  local id = string.match(key, '^.*/(.*)$') or key
  local job, fence = string.match(key, '^(job_%x+)/(%d+/.+)/')
  local keep = redis.call('HGET', file(id), 'key') == key or redis.call('ZSCORE', P .. 'trash', key) or (job and has_claim(record(job), fence))
  if not keep and not job then
    local old, attempt = string.match(key, '^(job_%x+)/(%d+)/')
    keep = old and owns(record(old), attempt .. '/' .. (redis.call('HGET', record(old), 'nonce') or ''))
  end
  out[i] = keep and 1 or 0
end
return out
