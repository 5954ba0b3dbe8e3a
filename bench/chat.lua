-- One chat request, over and over. The runner sets BENCH_BODY and BENCH_HEADERS (lines `name: value`).
-- Nothing is looked at per answer, so that the load costs as little as it can: wrk itself counts statuses over 399.
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
for name, value in os.getenv("BENCH_HEADERS"):gmatch("([^:\n]+): ([^\n]+)") do wrk.headers[name] = value end

function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, errors.status, broken,
    latency:percentile(50), latency:percentile(99)))
end
