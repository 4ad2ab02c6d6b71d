-- wrk.lua: what bench/throughput and bench/shutdown want from wrk.
--   wrk -s wrk.lua URL -- DEPTH
-- sends DEPTH requests with one write (1: wrk's own way) and ends with one line
-- of NAME=NUMBER, which is easier to read for a program than wrk's table.

function init(args)
  local depth = tonumber(args[1]) or 1
  if depth == 1 then return end
  local requests = {}
  for i = 1, depth do requests[i] = wrk.format() end
  local batch = table.concat(requests)
  request = function() return batch end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local line = "requests=%d seconds=%.6f p50_us=%d p99_us=%d " ..
    "connect=%d read=%d write=%d timeout=%d status=%d\n"
  io.write(line:format(summary.requests, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
