-- GCRA over several keys, all or nothing. KEYS: one per rule. ARGV: for each
-- rule, the interval between two requests and the burst, in microseconds.
-- Answers four numbers for each rule: allowed, remaining, reset, retry.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local allowed = 1
local tats = {}
for i, key in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local tat = tonumber(redis.call('GET', key) or now)
  if tat < now then tat = now end
  tats[i] = tat
  if tat + interval - now > burst then allowed = 0 end
end
local out = {}
for i, key in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local tat, retry = tats[i], 0
  if allowed == 1 then
    tat = tat + interval
    -- %.0f: Lua's own number format keeps 14 digits, microseconds need 16.
    redis.call('SET', key, string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
  elseif tat + interval - now > burst then
    retry = tat + interval - now - burst
  end
  out[#out + 1] = retry == 0 and 1 or 0
  out[#out + 1] = math.floor((burst - (tat - now)) / interval)
  out[#out + 1] = math.ceil(tat - now)
  out[#out + 1] = math.ceil(retry)
end
return out
