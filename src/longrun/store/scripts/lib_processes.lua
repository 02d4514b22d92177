-- The fifth part of the library: what scripts about processes of several versions share. In front of it stands lib.lua; see there.

-- How many API processes are there that do not announce themselves, as those of 0.1.0 do not. Each listens to `hooks`; one that announces itself listens to
-- `hooks-announced` too. A user who may not ask for that gets 0.
local function silent_apis()
  local r = redis.pcall('PUBSUB', 'NUMSUB', P .. 'hooks', P .. 'hooks-announced')
  return r.err and 0 or math.max(0, r[2] - r[4])
end

-- Who has the name of a worker of 0.1.0 that may still be there, and for how long: only that worker heeds it (announce_process.lua).
local NOBODY, DAY = '-', 86400000
