"use strict";
// Reads the figures that its own address serves, and shows them. Nothing is loaded from elsewhere.

const byId = (id) => document.getElementById(id);
const here = location.pathname.replace(/\/dashboard\/?$/, "");
const time = (seconds) => units.s(seconds);
const count = (value) => Math.round(value).toLocaleString("en");
const share = (of) => `${of.toFixed(1)} %`;

const page = {
  store: { step: 1, kept: 600, newest: -1, time: [], series: new Map(), left_out: 0 },
  view: null, // {min, max} while zoomed
  paused: false,
  stream: null,
  charts: [],
  look(min, max) {
    this.view = min === undefined ? null : { min, max };
    for (const chart of this.charts) if (chart.plot) chart.zoom();
  },
};

const series = (store, group, name, figure) => store.series.get([group, name, figure].join("\n"))?.values;
const named = (store, group, figure) => [...store.series.values()].filter((s) => s.group === group && s.figure === figure);
const total = (values) => values.reduce((sum, value) => sum + (value ?? 0), 0);

function fixed(group, figures) {
  return (store) => figures.flatMap(([figure, label]) => {
    const values = series(store, group, "", figure);
    return values ? [{ label, values }] : [];
  });
}

const busiest = (group) => (store, figure) => {
  const rates = named(store, group, "rate").map((s) => [total(s.values), s.name]).sort((a, b) => b[0] - a[0]).slice(0, 8);
  return rates.flatMap(([, name]) => {
    const values = series(store, group, name, figure);
    return values ? [{ label: name, values }] : [];
  });
};
const figures = (errors) => [["rate", "throughput"], ["p50", "P50"], ["p95", "P95"], ["p99", "P99"], ["errors", errors]];

const ratios = (store) => ["cache", "pool"].flatMap((group) => named(store, group, "hit ratio").map((s) => (
  { label: group === "pool" ? `results of ${s.name}` : s.name, values: s.values })));
const pools = (store) => [["in use", "connections in use"], ["waiting", "callers waiting"]].flatMap(([figure, label]) => (
  named(store, "pool", figure).map((s) => ({ label: `${s.name}: ${label}`, values: s.values }))));
const waits = (store) => named(store, "pool", "waited").map((s) => ({ label: s.name, values: s.values }));

page.charts = [
  { title: "Throughput and errors", unit: "1/s", lines: fixed("requests", [["rate", "requests"], ["errors", "server errors"]]) },
  { title: "Response times", unit: "s", lines: fixed("requests", [["p50", "P50"], ["p95", "P95"], ["p99", "P99"]]) },
  { title: "By route", lines: busiest("route"), choices: figures("server errors") },
  { title: "By tool, task and statement", lines: busiest("operation"), choices: figures("errors") },
  { title: "Cache hit ratio", unit: "%", lines: ratios },
  { title: "Database pools", unit: "1", lines: pools },
  { title: "Waits for a connection, seconds a second", unit: "1", lines: waits },
  { title: "Processor cores", unit: "1", lines: fixed("process", [["cores used", "used"], ["cores allowed", "allowed"]]) },
  { title: "Memory", unit: "B", lines: fixed("process", [["memory used", "used"], ["memory allowed", "allowed"]]) },
  { title: "Event loop lag, P99 of the last minute", unit: "s", lines: fixed("loop", [["p99", "P99"]]) },
].map((one) => new Chart(one, page));
byId("charts").append(...page.charts.map((chart) => chart.figure));

function keep(found) {
  // The clock was set back; a service that has just started has no newest.
  if (found.newest >= 0 && found.newest < page.store.newest - 2) page.store = { time: [], series: new Map() };
  const { store } = page;
  const old = store.time.length;
  Object.assign(store, { step: found.step, kept: found.kept, newest: found.newest, left_out: found.left_out });
  // Seconds in which nothing was sent are a gap too.
  const times = found.time.filter((t) => !old || t > store.time[old - 1]);
  const skip = found.time.length - times.length;
  if (old && times.length && times[0] - store.time[old - 1] > found.step) {
    store.time.push(store.time[old - 1] + found.step);
    for (const one of store.series.values()) one.values.push(null);
  }
  const before = store.time.length;
  store.time.push(...times);
  for (const one of found.series) {
    const key = [one.group, one.name, one.figure].join("\n");
    if (!store.series.has(key)) store.series.set(key, { ...one, values: new Array(before).fill(null) });
    store.series.get(key).values.push(...one.values.slice(skip));
  }
  for (const one of store.series.values()) while (one.values.length < store.time.length) one.values.push(null);
  const late = store.time.length - found.kept;
  if (late > 0) {
    store.time.splice(0, late);
    for (const [key, one] of store.series) {
      one.values.splice(0, late);
      if (one.values.every((value) => value === null)) store.series.delete(key);
    }
  }
  for (const chart of page.charts) chart.show();
}

function row(cells) {
  const tr = document.createElement("tr");
  for (const cell of cells) tr.insertCell().append(cell);
  return tr;
}

function hitRate(report) {
  const caches = [...report.caches, ...report.pools.map((pool) => pool.cache)];
  const hits = caches.reduce((sum, cache) => sum + cache.hits, 0);
  const asked = hits + caches.reduce((sum, cache) => sum + cache.misses, 0);
  return asked ? share(100 * hits / asked) : "none asked";
}

function tile([label, value]) {
  const div = document.createElement("div");
  const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
  dt.textContent = label;
  dd.textContent = value;
  div.append(dt, dd);
  return div;
}

const explained = new Map(); // by statement: open ones stay open

async function explain(sql, into) {
  into.textContent = "looking";
  try {
    const answer = await ask("/analyze", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ sql }) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    const plan = (found.plan ?? []).map((step) => `${"  ".repeat(step.depth)}${step.detail}${step.rows == null ? "" : `, ${step.rows.toLocaleString()} rows`}`);
    const issues = (found.issues ?? []).map((issue) => `${issue.severity} ${issue.code}: ${issue.message}\n  ${issue.suggestion}`);
    into.textContent = [...plan, "", ...issues].join("\n").trim() || "nothing to say";
  } catch (error) {
    into.textContent = error.message;
  }
}

function statement(query) {
  if (!explained.has(query.sample)) {
    const [box, button, shown] = [document.createElement("div"), document.createElement("button"), document.createElement("pre")];
    button.type = "button";
    button.textContent = "Explain";
    button.setAttribute("aria-label", `Explain ${query.sample}`);
    button.onclick = () => explain(query.sample, shown);
    box.append(button, shown);
    explained.set(query.sample, box);
  }
  return row([query.sample, count(query.calls), time(query.mean_seconds), time(query.p95_seconds), explained.get(query.sample)]);
}

function line(parent, name, ...content) {
  const made = document.createElement("div");
  made.className = name;
  made.append(...content);
  parent.append(made);
}

function element(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
}

function advice(item) {
  const li = document.createElement("li");
  const word = element("span", `${item.severity}: `);
  word.className = item.severity;
  line(li, "seen", word, `${item.evidence}.`);
  line(li, "do", element("b", item.action), ` (${item.expected_gain})`);
  line(li, "note", element("code", item.how_to_apply), `; seen over ${count(item.samples)} samples`);
  return li;
}

function show(report) {
  const { process, requests } = report;
  const minute = requests.last_minute;
  const seconds = Math.max(minute.length_seconds, 1e-9);
  byId("tiles").replaceChildren(...[
    ["requests", minute.count ? units["1/s"](minute.count / seconds) : "0 /s"],
    ["P50", minute.count ? time(minute.p50_seconds) : "no requests"],
    ["P95", minute.count ? time(minute.p95_seconds) : "no requests"],
    ["P99", minute.count ? time(minute.p99_seconds) : "no requests"],
    ["server errors", count(minute.errors)],
    ["active", count(requests.active)],
    ["cache hits since the start", hitRate(report)],
    ["processor", share(process.cpu_percent)],
    [`memory, ${units.B(process.memory_used_bytes)}`, share(process.memory_percent)],
  ].map(tile));
  const routes = [...requests.routes].sort((a, b) => b.count - a.count).slice(0, 30);
  byId("routes").replaceChildren(...routes.map((r) => row([`${r.method} ${r.route}`, `${r.status} ${r.error_type}`.trim(), count(r.count),
    time(r.mean_seconds), time(r.p50_seconds), time(r.p95_seconds), time(r.p99_seconds)])));
  const operations = [...report.operations].sort((a, b) => b.count - a.count).slice(0, 30);
  byId("operations").replaceChildren(...operations.map((o) => row([`${o.method} ${o.name}`, o.error_type || "ok", count(o.count),
    time(o.mean_seconds), time(o.p50_seconds), time(o.p95_seconds), time(o.p99_seconds)])));
  byId("by-operation").parentElement.hidden = !operations.length;
  byId("slow").parentElement.hidden = !report.slow_queries.length;
  byId("by-route").parentElement.hidden = !routes.length;
  byId("queries").replaceChildren(...report.slow_queries.slice(0, 20).map(statement));
  const items = report.recommendations.map(advice);
  if (!items.length) items.push(Object.assign(document.createElement("li"), { textContent: "nothing to change" }));
  byId("recommendations").replaceChildren(...items);
}

function ask(path, options = {}) {
  const token = sessionStorage.getItem("mcp-performance-token");
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  return fetch(here + path, { ...options, headers, cache: "no-store" });
}

function say(text, bad = false) {
  if (byId("state").textContent !== text) byId("state").textContent = text; // said aloud once
  byId("state").classList.toggle("bad", bad);
}

const handlers = { history: keep, report: show };

async function follow(stop) {
  const { step, newest } = page.store;
  const response = await ask(`/events?step=${step}&since=${newest}`, { signal: stop });
  if (response.status === 401) return needToken();
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  say("live");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, kind, data] = /^event: (\w+)\ndata: (.*)$/s.exec(event) ?? [];
      if (handlers[kind]) handlers[kind](JSON.parse(data));
    }
  }
}

function needToken() {
  page.paused = true;
  byId("ask").hidden = false;
  byId("token").focus();
  say("waiting for the token");
}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1e3));

async function run() {
  const mine = page.stream = new AbortController();
  let wait = 0.5;
  while (page.stream === mine && !page.paused) {
    const begun = performance.now();
    try {
      await follow(mine.signal);
      wait = 0.5;
      // Behind WSGI a stream says what there is, and ends.
      await sleep(Math.max(0, 1 - (performance.now() - begun) / 1e3));
    } catch (error) {
      if (page.stream !== mine) return;
      say(`not connected (${error.message}); trying again`, true);
      await sleep(wait);
      wait = Math.min(2 * wait, 10);
    }
  }
}

function restart(step = page.store.step) {
  page.stream?.abort();
  if (step !== page.store.step) {
    page.store = { step, kept: 600, newest: -1, time: [], series: new Map(), left_out: 0 };
    page.view = null;
    for (const chart of page.charts) chart.nothing();
  }
  run();
}

byId("range").onchange = (event) => restart(Number(event.target.value));
byId("whole").onclick = () => page.look();
byId("pause").onclick = (event) => {
  page.paused = !page.paused;
  event.target.setAttribute("aria-pressed", String(page.paused));
  event.target.textContent = page.paused ? "Go on" : "Pause";
  if (page.paused) {
    page.stream.abort();
    page.stream = null;
    say("paused");
  } else restart();
};
byId("ask").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("mcp-performance-token", byId("token").value);
  byId("ask").hidden = true;
  page.paused = false;
  restart();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of page.charts) { chart.shape = ""; chart.show(); }
});
for (const chart of page.charts) chart.nothing();
run();
