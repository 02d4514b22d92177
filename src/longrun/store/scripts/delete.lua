-- Erase an ended job and leave a tombstone. ARGV: id, tenant, tombstone ms.
-- Returns {'deleted'} | {'unended'} | {'child', root} (it goes with that one) | {'none'} | {'gone'}.
local k = record(ARGV[1])
local r, refusal, late = theirs(k, ARGV[2], 'status', 'root')
if not r and not late then return refusal end
if r and r[5] then return {'child', kept_root(r[5])} end
if r and not TERMINAL[r[4]] then return {'unended'} end
erase(ARGV[1], k, now(), ARGV[3], FILES_AT_ONCE)
return refusal or {'deleted'}
