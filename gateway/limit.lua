-- GCRA for one key. KEYS: the key. ARGV: the interval between two requests and
-- the burst, in microseconds; how many requests; "ask" to be refused when there
-- is no room, "tell" when they have been admitted already.
-- Answers four numbers: allowed, remaining, reset, retry.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local interval, burst, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tat = tonumber(redis.call('GET', KEYS[1]) or now)
if tat < now then tat = now end
local wanted = tat + n * interval
if ARGV[4] == 'tell' then
  -- Never beyond full and one: an outage told of at once must not shut anyone
  -- out for longer than the limit's own time.
  wanted = math.max(tat, math.min(wanted, now + burst + interval))
elseif wanted - now > burst then
  return {0, math.floor((burst - (tat - now)) / interval), math.ceil(tat - now), math.ceil(wanted - now - burst)}
end
-- %.0f: Lua's own number format keeps 14 digits, microseconds need 16.
redis.call('SET', KEYS[1], string.format('%.0f', wanted), 'PX', math.max(1, math.ceil((wanted - now) / 1000)))
return {1, math.floor((burst - (wanted - now)) / interval), math.ceil(wanted - now), 0}
