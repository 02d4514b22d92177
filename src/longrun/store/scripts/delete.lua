-- Erase an ended job and leave a tombstone. ARGV: id, tenant, tombstone ms. Returns {'deleted'} | {'unended'} | {'none'} | {'gone'}.
local k = record(ARGV[1])
local r, refusal, late = theirs(k, ARGV[2], 'status')
if not r and not late then return refusal end
if r and not TERMINAL[r[4]] then return {'unended'} end
erase(ARGV[1], k, now(), ARGV[3], FILES_AT_ONCE)
return refusal or {'deleted'}
