"use strict";

const KEPT = 120; // seconds of history in the charts
const history = [];
const ms = (seconds) => (seconds * 1e3).toLocaleString("en", { maximumFractionDigits: 1 }) + " ms";
const count = (value) => Math.round(value).toLocaleString("en");
const byId = (id) => document.getElementById(id);

function row(cells) {
  const tr = document.createElement("tr");
  for (const cell of cells) tr.insertCell().textContent = cell;
  return tr;
}

function tile([label, value]) {
  const div = document.createElement("div");
  div.className = "tile";
  const figure = document.createElement("b");
  figure.textContent = value;
  div.append(label, figure);
  return div;
}

function draw(canvas, series) {
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const most = Math.max(1e-9, ...series.flatMap((line) => line.values));
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  context.font = "13px system-ui";
  context.fillStyle = style.getPropertyValue("color");
  context.fillText(most.toLocaleString("en", { maximumFractionDigits: 1 }), 4, 14);
  for (const { values, colour } of series) {
    context.strokeStyle = style.getPropertyValue(colour);
    context.lineWidth = 2;
    context.beginPath();
    values.forEach((value, i) => {
      const x = width - ((values.length - 1 - i) / (KEPT - 1)) * width;
      context.lineTo(x, height - 4 - (value / most) * (height - 24));
    });
    context.stroke();
  }
}

function hitRate(report) {
  const caches = [...report.caches, ...report.pools.map((pool) => pool.cache)];
  const hits = caches.reduce((sum, cache) => sum + cache.hits, 0);
  const asked = hits + caches.reduce((sum, cache) => sum + cache.misses, 0);
  return asked ? ((100 * hits) / asked).toFixed(1) + " %" : "none";
}

function show(report) {
  const { process, requests } = report;
  const minute = requests.last_minute;
  const last = history.at(-1);
  const seconds = last ? report.time - last.time : 0;
  const rate = seconds > 0 ? Math.max(0, requests.count - last.count) / seconds : 0;
  history.push({ time: report.time, count: requests.count, rate, p95: minute.p95_seconds * 1e3, p99: minute.p99_seconds * 1e3 });
  if (history.length > KEPT) history.shift();
  byId("tiles").replaceChildren(...[
    ["requests", count(rate) + " /s"],
    ["P95", ms(minute.p95_seconds)],
    ["P99", ms(minute.p99_seconds)],
    ["active", count(requests.active)],
    ["errors", count(minute.errors)],
    ["cache hits", hitRate(report)],
    ["CPU", process.cpu_percent.toFixed(0) + " %"],
    ["memory", process.memory_percent.toFixed(0) + " %"],
  ].map(tile));
  draw(byId("rate"), [{ values: history.map((h) => h.rate), colour: "--accent" }]);
  draw(byId("times"), [
    { values: history.map((h) => h.p95), colour: "--accent" },
    { values: history.map((h) => h.p99), colour: "--second" },
  ]);
  const routes = [...requests.routes].sort((a, b) => b.count - a.count).slice(0, 20);
  byId("routes").replaceChildren(...routes.map((r) => row([`${r.method} ${r.route}`, r.status, count(r.count),
    ms(r.mean_seconds), ms(r.p95_seconds), ms(r.p99_seconds)])));
  byId("queries").replaceChildren(...report.slow_queries.slice(0, 10).map((q) => row([q.sample, count(q.calls),
    ms(q.mean_seconds), ms(q.p95_seconds)])));
  byId("recommendations").replaceChildren(...report.recommendations.map((item) => {
    const li = document.createElement("li");
    li.textContent = item.message;
    return li;
  }));
}

async function look() {
  try {
    const response = await fetch("/data");
    const report = await response.json();
    if (!response.ok) throw new Error(report.error);
    show(report);
    byId("status").textContent = "live";
  } catch (error) {
    byId("status").textContent = error.message;
  }
}

look();
setInterval(look, 1000);
