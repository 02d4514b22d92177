-- Remove records whose time is over. ARGV: tombstone ms, most jobs (<= 100). Returns how many were looked at.
pass_when_full()
local t, n, files = now(), 0, FILES_AT_ONCE
for _, id in ipairs(overdue('expire', t, ARGV[2])) do
  files, n = files - age(id, t, ARGV[1], files), n + 1
end
return n
