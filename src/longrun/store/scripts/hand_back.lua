-- A worker gives a claimed job back; a parent that waits sleeps on. ARGV: id, fence, crash|suspect|release|unstarted, error JSON of the attempt ('' = none),
-- group of a suspect ('' = itself), usage JSON of the attempt ('' = none).
-- Returns {1, status} | {0, status} (stale).
local id, k = ARGV[1], record(ARGV[1])
local mine, status, attempt = has_claim(k, ARGV[2])
if not mine then return {own_end(k, ARGV[2]) and 1 or 0, status or 'gone'} end
pass_when_full()
add_usage(k, attempt, now(), ARGV[6])
return {1, hand_back(id, k, now(), ARGV[3], ARGV[4] ~= '' and ARGV[4] or nil, ARGV[5] ~= '' and ARGV[5] or nil)}
