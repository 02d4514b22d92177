-- Trees of jobs, and who may see what (see lib.lua): a job that another one runs is kept, and goes, with the job at the top of its tree.

-- Fields from the fourth value on of the record at `k` (a job, batch, file or delivery), when it is this tenant's (false: whoever's). Otherwise nil and what
-- the script answers then: {'none'} (it is not there or another tenant's: the same answer) or {'gone', whose it was} (deleted, or its time is over, also when no
-- chore has got to it yet); `store/kinds.py` reads both. Of one that is only over the fields come third, for those who erase it.
local function theirs(k, tenant, ...)
  local r = redis.call('HMGET', k, 'tenant', 'gone', 'expires', ...)
  if not r[1] or (tenant and r[1] ~= tenant) then return nil, {'none'} end
  local over = r[3]
  if over == 'tree' then
    -- As `kept_root` does it: most who ask need no more than this function.
    local root = redis.call('HGET', k, 'root')
    while root and not theirs(record(root), false) do root = redis.call('HGET', record(root), 'retried_by') end
    over = not root
  elseif over then
    over = tonumber(over) <= now()
  end
  if r[2] or over then return nil, {'gone', r[1]}, not r[2] and r end
  return r
end

-- The job with which a tree is kept: the one at its top, or else the one that is the retry of it, which has taken over what was finished. nil: there is none.
local function kept_root(root)
  while root and not theirs(record(root), false) do root = redis.call('HGET', record(root), 'retried_by') end
  return root or nil
end
