"use strict";
// One chart: axes with units, a legend of buttons, hover and keyboard readings, zoom that all charts share.

const units = {
  "s": (v) => v >= 1 ? `${round(v)} s` : v >= 1e-3 ? `${round(v * 1e3)} ms` : `${round(v * 1e6)} µs`,
  "1/s": (v) => `${round(v)} /s`,
  "B": (v) => v >= 2 ** 30 ? `${round(v / 2 ** 30)} GiB` : `${round(v / 2 ** 20)} MiB`,
  "%": (v) => `${round(v * 100)} %`,
  "1": (v) => `${round(v)}`,
};
function round(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 3, useGrouping: true });
}
const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = (seconds) => new Date(seconds * 1e3).toLocaleTimeString("en-GB");
const strokes = [[], [8, 4], [2, 3]];
const strokeNames = ["", "dashed", "dotted"];
const binary = Array.from({ length: 24 }, (_, i) => 2 ** (18 + i)); // bytes between ticks
// Names are told apart by their ends, too.
const short = (name) => name.length > 48 ? `${name.slice(0, 22)}…${name.slice(-25)}` : name;
// Points between gaps: no line would show them.
function lonely(plot, i) {
  const [values, [from, to]] = [plot.data[i], plot.series[0].idxs];
  const found = [];
  for (let at = from; at <= to; at++) if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  return found;
}

class Chart {
  // lines: what `lines(store)` gives: [{label, values}]; view: {min, max} or null, shared.
  constructor({ title, unit, lines, choices = null }, page) {
    Object.assign(this, { title, unit, lines, page, plot: null, hidden: new Set(), shape: "", at: null });
    this.figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.append(title);
    if (choices) {
      this.choice = document.createElement("select");
      this.choice.setAttribute("aria-label", `${title}: figure`);
      for (const [value, name] of choices) this.choice.add(new Option(name, value));
      this.choice.onchange = () => { this.shape = ""; this.show(); };
      caption.append(this.choice);
    }
    this.holder = document.createElement("div");
    this.holder.className = "plot";
    this.holder.tabIndex = 0;
    this.holder.setAttribute("role", "img");
    this.holder.onkeydown = (event) => this.key(event);
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    this.figure.append(caption, this.holder, this.legend);
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.holder);
  }

  format(value) {
    return value == null ? "no data" : units[this.currentUnit()](value);
  }

  currentUnit() {
    return this.choice ? (this.choice.value.startsWith("p") ? "s" : "1/s") : this.unit;
  }

  size() {
    return { width: Math.max(200, this.holder.clientWidth), height: 190 };
  }

  show() {
    const { time } = this.page.store;
    this.drawn = this.lines(this.page.store, this.choice?.value);
    const shape = this.currentUnit() + this.drawn.map((line) => line.label).join("\n");
    if (!this.drawn.length || !time.length) return this.nothing();
    const data = [time, ...this.drawn.map((line) => line.values)];
    if (shape !== this.shape) this.make(data, shape);
    else this.plot.setData(data, false);
    this.zoom();
    this.read(this.at);
  }

  nothing() {
    this.plot?.destroy();
    this.plot = null;
    this.shape = "";
    this.legend.replaceChildren();
    const none = document.createElement("p");
    none.className = "empty";
    none.textContent = "no data yet";
    this.holder.replaceChildren(none);
    this.holder.setAttribute("aria-label", `${this.title}: no data yet`);
  }

  make(data, shape) {
    this.plot?.destroy();
    this.holder.replaceChildren();
    this.shape = shape;
    const axis = { stroke: styleOf("--soft"), grid: { stroke: styleOf("--line"), width: 1 }, ticks: { stroke: styleOf("--line") }, font: "12px system-ui" };
    this.plot = new uPlot({
      ...this.size(),
      legend: { show: false },
      cursor: { sync: { key: "time" }, drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((tick, i) => clock(tick).slice(0, ticks[1] - ticks[0] >= 60 ? 5 : 8)), space: 70 },
        { ...axis, ...(this.currentUnit() === "B" ? { incrs: binary } : {}), values: (_, ticks) => ticks.map((tick) => units[this.currentUnit()](tick)), size: 78 },
      ],
      series: [{}, ...this.drawn.map((line, i) => ({
        label: line.label, stroke: styleOf(`--s${i % 8}`), width: 2, dash: strokes[i % 3], spanGaps: false,
        show: !this.hidden.has(line.label), points: { show: true, size: 5, filter: lonely },
      }))],
      hooks: {
        setCursor: [(plot) => this.read(plot.cursor.idx)],
        setSelect: [(plot) => {
          if (plot.select.width < 5) return;
          this.page.look(plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        }],
      },
    }, data, this.holder);
    this.plot.over.ondblclick = () => this.page.look();
    const cut = this.drawn.map((line) => short(line.label));
    this.names = new Set(cut).size === cut.length ? cut : this.drawn.map((line) => line.label);
    this.legend.replaceChildren(...this.drawn.map((line, i) => this.entry(line, i)));
  }

  entry(line, i) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const swatch = document.createElement("i");
    swatch.className = strokeNames[i % 3];
    swatch.style.borderTopColor = styleOf(`--s${i % 8}`);
    const value = document.createElement("b");
    button.append(swatch, `${this.names[i]} `, value);
    button.title = line.label;
    button.setAttribute("aria-pressed", String(!this.hidden.has(line.label)));
    button.onclick = () => {
      const shown = this.hidden.has(line.label);
      this.hidden[shown ? "delete" : "add"](line.label);
      button.setAttribute("aria-pressed", String(shown));
      this.plot.setSeries(i + 1, { show: shown });
    };
    item.append(button);
    return item;
  }

  zoom() {
    const { time, step } = this.page.store;
    const view = this.page.view ?? { min: Math.max(time[0], time.at(-1) - this.page.store.kept * step), max: time.at(-1) };
    this.plot.setScale("x", view.max > view.min ? view : { min: view.min - step, max: view.min + step });
  }

  // The figures at a point; the newest where there is none.
  read(index) {
    if (!this.plot) return;
    this.at = index ?? null;
    const at = index ?? this.page.store.time.length - 1;
    const values = this.drawn.map((line) => this.format(line.values[at]));
    this.legend.querySelectorAll("b").forEach((shown, i) => { shown.textContent = values[i]; });
    const words = this.drawn.map((line, i) => `${line.label} ${values[i]}`).join(", ");
    this.holder.setAttribute("aria-label", `${this.title} at ${clock(this.page.store.time[at])}: ${words}`);
  }

  key(event) {
    if (!this.plot) return;
    const { time } = this.page.store;
    const at = this.at ?? time.length - 1;
    const { min, max } = this.plot.scales.x;
    const half = (max - min) / 4;
    const middle = Math.min(Math.max(time[at], min), max);
    const acts = {
      ArrowLeft: () => this.point(Math.max(0, at - 1)),
      ArrowRight: () => this.point(Math.min(time.length - 1, at + 1)),
      Home: () => this.point(0),
      End: () => this.point(time.length - 1),
      "+": () => this.page.look(middle - half, middle + half),
      "-": () => this.page.look(middle - 4 * half, middle + 4 * half),
      "0": () => this.page.look(),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  point(index) {
    this.plot.setCursor({ left: this.plot.valToPos(this.page.store.time[index], "x"), top: 10 });
    this.read(index);
    document.getElementById("reading").textContent = this.holder.getAttribute("aria-label");
  }
}
