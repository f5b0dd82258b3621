-- One call more of a month's quota. KEYS: the counter. ARGV: the limit, below 0
-- for none; the least it can stand at, as this edge knows; calls served while we
-- were away; 1 if an absent counter may be made of these; its life in seconds.
-- Answers two numbers: 1 counted, 0 refused, -1 there is no counter; and where
-- it stands. Calls served already are counted whether or not there is room.
local was = tonumber(redis.call('GET', KEYS[1]))
if not was and ARGV[4] ~= '1' then
  return {-1, 0}
end
local limit = tonumber(ARGV[1])
local used = math.max(was or 0, tonumber(ARGV[2])) + tonumber(ARGV[3])
local fits = limit < 0 or used < limit
if fits then used = used + 1 end
if used ~= was then
  redis.call('SET', KEYS[1], string.format('%.0f', used), 'EX', ARGV[5])
end
return {fits and 1 or 0, used}
