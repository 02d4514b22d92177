-- Erase a file: it is hidden at once, its bytes go when no job needs them. ARGV: id, tenant, tombstone ms, nonce.
-- Returns {'deleted'} | {'none'} | {'gone'}. The nonce makes a deletion that was sent twice get its own answer again.
local r, refusal, late = theirs(file(ARGV[1]), ARGV[2])
if not r and not late then
  local again = refusal[1] == 'gone' and redis.call('HGET', file(ARGV[1]), 'gone') == ARGV[4]
  return again and {'deleted'} or refusal
end
pass_when_full()
hide_file(ARGV[1], now(), ARGV[3], late and '1' or ARGV[4])
return refusal or {'deleted'}
