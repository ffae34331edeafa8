-- wrk script: one request per line of FILE, with the line in the place of {} in HEADER ("Name: value {}").
-- wrk … -s load.lua URL -- FILE FIRST COUNT HEADER PAUSE ; FILE `-`: the same request again and again. With a PAUSE
-- each connection rests before each request, between nothing and twice as many milliseconds.
local requests, next_one, wrapped = {}, 0, 0

function init(args)
  local file, first, count, header = args[1], tonumber(args[2]), tonumber(args[3]), args[4] or ""
  local pause = tonumber(args[5] or "0")
  if pause > 0 then
    delay = function() return math.random(0, 2 * pause) end
  end
  local name, value = header:match("^([^:]+):%s*(.*)$")
  local head = ("GET %s HTTP/1.1\r\nHost: %s:%s\r\n"):format(wrk.path, wrk.host, wrk.port)
  local function add(line)
    local header = name and name .. ": " .. value:gsub("{}", function() return line end) .. "\r\n" or ""
    requests[#requests + 1] = head .. header .. "\r\n"
  end
  if file == "-" then return add("") end
  local number = 0
  for line in io.lines(file) do
    number = number + 1
    if number > first + count then break end
    if number > first then add(line) end
  end
end

function request()
  next_one = next_one + 1
  if next_one > #requests then next_one = 1 end
  return requests[next_one]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"us":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
